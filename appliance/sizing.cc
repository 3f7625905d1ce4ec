// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/sizing.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "appliance/devices.h"
#include "appliance/eal.h"
#include "datapath/memory/arena.h"
#include "datapath/memory/file_room.h"

namespace lagan::appliance {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMiB = 1ULL << 20;
constexpr uint64_t kMinAutoBytes = 64 * kMiB;
constexpr uint32_t kMaxSegments = 65'532;  // in flight in all: frame_pool.h, reference()
constexpr uint32_t kMbufOverheadBytes =
    sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM + 128;  // of the mempool, and alignment

uint64_t three_quarters(uint64_t bytes) {
    return bytes / 4 * 3 / (2 * kMiB) * (2 * kMiB);
}

// The directory itself, or the nearest one above it that exists.
fs::path existing(fs::path directory) {
    std::error_code ignored;
    while (!fs::exists(directory, ignored) && directory.has_relative_path())
        directory = directory.parent_path();
    return directory;
}

// Of a "size = auto": huge pages if there is a useful number of them, else what tmpfs can have.
uint64_t choose_size(const MemoryOptions& memory) {
    if (!memory.arena.empty()) return three_quarters(memory::free_bytes(existing(memory.arena)));
    const uint64_t huge =
        memory.huge_pages == HugePages::off ? 0 : three_quarters(huge_page_room().ready_bytes);
    if (huge >= kMinAutoBytes || memory.huge_pages == HugePages::on) return huge;
    return three_quarters(memory::free_bytes("/dev/shm"));
}

}  // namespace

// An arena that holds regions is opened where it is, whatever room there is elsewhere.
static std::optional<ArenaPlan> kept_arena(const Options& options) {
    if (!options.start.rescue.empty()) return ArenaPlan{options.start.rescue, 0, "to be rescued"};
    if (options.start.empty_arena) return {};
    const auto directory = options.memory.arena.empty()
                               ? memory::Arena::find_kept("lagan-" + options.node.name)
                               : memory::Arena::kept_in(options.memory.arena);
    if (!directory) return {};
    return ArenaPlan{*directory, options.memory.size_bytes.value_or(0),
                     "with the regions of an earlier lagand"};
}

ArenaPlan plan_arena(const Options& options) {
    if (const auto kept = kept_arena(options)) return *kept;
    const MemoryOptions& memory = options.memory;
    const uint64_t bytes = memory.size_bytes.value_or(choose_size(memory));
    if (bytes == 0)
        throw std::runtime_error(
            "memory.size = \"auto\": there is no memory to be had (free -h, huge pages)");
    if (!memory.arena.empty()) {
        if (memory.huge_pages == HugePages::on && memory::huge_page_bytes(existing(memory.arena)) == 0) {
            throw std::runtime_error(
                fmt::format("memory.huge_pages = \"on\", but memory.arena = \"{}\" is not on hugetlbfs",
                            memory.arena.string()));
        }
        return {memory.arena, bytes, "as configured"};
    }
    // Beside another appliance of this machine, not over it.
    const std::string suffix = "-" + options.node.name;
    if (memory.huge_pages == HugePages::off)
        return {"/dev/shm/lagan" + suffix, bytes, "huge pages are off: tmpfs, 4 KiB pages"};
    const auto choice = memory::Arena::choose_directory(bytes);
    if (memory.huge_pages == HugePages::on && !choice.huge_pages) {
        throw std::runtime_error("memory.huge_pages = \"on\", but " + choice.reason +
                                 "; mount a hugetlbfs and raise vm.nr_hugepages, or set it to \"auto\"");
    }
    return {choice.directory.string() + suffix, bytes, choice.reason};
}

EngineOptions size_engine(const Options& options, uint64_t frame_count, uint32_t engine_count) {
    const auto part_of_frames = [frame_count](uint64_t divisor, uint32_t min, uint32_t max) {
        return static_cast<uint32_t>(std::clamp<uint64_t>(frame_count / divisor, min, max));
    };
    EngineOptions engine;
    engine.idle =
        options.poll.idle == IdlePolicy::spin ? lagan::IdlePolicy::spin : lagan::IdlePolicy::adaptive;
    engine.header_mbufs = std::min(part_of_frames(16, 2047, 8191), kMaxSegments / engine_count);
    engine.retire_capacity = part_of_frames(32, 512, 16384);
    engine.packet_room = rx_room_bytes(options.ports);
    engine.max_qps = options.rdma.max_qps;
    engine.engine_count = engine_count;
    engine.scrub_pages_per_second = options.memory.scrub_pages_per_second;
    return engine;
}

uint64_t slack_frames(const EngineOptions& engine, uint32_t engine_count) {
    return uint64_t{engine_count} * (engine.header_mbufs + engine.retire_capacity) + engine.max_qps;
}

uint64_t cut_frames(const Options& options, uint64_t frame_count) {
    return options.baseline.store.empty() ? 0 : std::clamp<uint64_t>(frame_count / 16, 64, 65'536);
}

uint32_t frames_in_flight(uint64_t cut_frames) {
    return static_cast<uint32_t>(std::min<uint64_t>(cut_frames / 2, 16'384));
}

uint64_t eal_memory_bytes(const EngineOptions& engine, uint32_t engine_count) {
    const auto pool = [](uint64_t count, uint64_t room) { return count * (room + kMbufOverheadBytes); };
    const uint64_t headers =
        pool(engine.header_mbufs, 512) + pool(engine.header_mbufs, 0) + pool(engine.header_mbufs, 64);
    const uint64_t packets = pool(uint64_t{engine.packet_mbufs} + engine.rx_mbufs, engine.packet_room);
    const uint64_t control = pool(engine.control_ring, 2048) + 64 * uint64_t{engine.max_qps};
    // A quarter more for what memory zones lose, 32 MiB for drivers.
    return (headers + packets + control) * engine_count * 5 / 4 + 32 * kMiB;
}

}  // namespace lagan::appliance
