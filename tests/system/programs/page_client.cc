// SPDX-License-Identifier: BSD-3-Clause
// A client over the dpdk fabric that does what its arguments say, one after the other, and tells what it saw,
// a line of JSON each. It ends with status 1 and a line on standard error when it cannot connect, or a
// request is not answered.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/algorithm/hex.hpp>
#include <boost/algorithm/string/split.hpp>
#include <boost/crc.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "client/connect.h"
#include "client/dpdk_fabric.h"
#include "datapath/capsule.h"
#include "datapath/memory/dirty_memory.h"

using namespace lagan;
using namespace lagan::client;
using nlohmann::json;

namespace {

constexpr uint64_t kPageBytes = memory::kPageBytes;
constexpr uint64_t kPatchBytes = 4096;  // of the summary's words and the like that one READ asks for
constexpr std::chrono::seconds kPatience{60};
constexpr const char* kExamples = R"(Arguments, in order:
  store:PAGE:FILE    the file's pages, from that page on
  part:PAGE          eight bytes in the middle of a page
  free:PAGE:COUNT    by one FREE capsule
  read:PAGE:COUNT    the pages' CRC-32s
  info               REGION_INFO
  fence:EPOCH        FENCE, until it has settled
  query              all pages of both lists, by DIRTY_QUERY
  lists              the same by READs of the dirty list memory
  pull               lists, and then READs of the pages listed that are present)";

using Pages = std::set<uint64_t>;

// The dirty list memory as a reader on another machine sees it.
struct Lists {
    Pages active, drain, present;
    uint64_t bytes_read = 0;
};

json ranges_of(const Pages& pages) {
    json ranges = json::array();
    for (const uint64_t page : pages) {
        if (!ranges.empty() && ranges.back()[0].get<uint64_t>() + ranges.back()[1].get<uint64_t>() == page) {
            ranges.back()[1] = ranges.back()[1].get<uint64_t>() + 1;
        } else {
            ranges.push_back({page, 1});
        }
    }
    return ranges;
}

class PageClient {
  public:
    PageClient(const std::string& appliance, const std::string& region, const std::string& role,
               const std::string& grant_hex)
        : node_(appliance), claim_(claim_port(node_)) {
        DpdkConnectOptions options{.remote_address = claim_.port.remote_address,
                                   .service_port = claim_.port.service_port};
        if (grant_hex.empty()) {
            options.grant = request_grant(node_, region, role_of(role));
        } else {
            boost::algorithm::unhex(grant_hex, std::back_inserter(options.grant));
        }
        host_ = std::make_shared<DpdkHost>(host_options(claim_.port));
        fabric_ = std::make_unique<DpdkFabric>(host_, options);
    }

    json carry_out(const std::string& argument) {
        std::vector<std::string> words;
        boost::algorithm::split(words, argument, [](char c) { return c == ':'; });
        const auto number = [&](size_t i) { return std::stoull(words.at(i)); };
        if (words[0] == "store") return store(number(1), words.at(2));
        if (words[0] == "part")
            return {{"status", to_string(write(number(1) * kPageBytes + 2048, "partpart", 8))}};
        if (words[0] == "free") return free_pages(number(1), number(2));
        if (words[0] == "read") return read_pages(number(1), number(2));
        if (words[0] == "fence") return fence(number(1));
        if (words[0] == "info") return info();
        if (words[0] == "query") return query();
        if (words[0] == "lists") return show(read_lists());
        if (words[0] == "pull") return pull();
        throw std::runtime_error("unknown argument " + argument);
    }

  private:
    static Role role_of(const std::string& name) {
        if (name == "read") return Role::read;
        return name == "write" ? Role::write : Role::recover;
    }

    CompletionStatus next() {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        Completion done{};
        while (fabric_->poll({&done, 1}) == 0)
            if (std::chrono::steady_clock::now() > end) throw std::runtime_error("a request is not answered");
        return done.status;
    }
    CompletionStatus read(uint32_t rkey, uint64_t from, void* to, uint64_t bytes) {
        if (!fabric_->post_read(1, rkey, from, to, static_cast<uint32_t>(bytes)))
            return CompletionStatus::flushed;
        return next();
    }
    CompletionStatus write(uint64_t to, const void* from, uint32_t bytes) {
        if (!fabric_->post_write(1, fabric_->region().data_rkey, to, from, bytes))
            return CompletionStatus::flushed;
        return next();
    }
    template <typename T>
    T read_dirty(uint64_t at) {
        T value{};
        read_dirty(at, &value, sizeof value);
        return value;
    }
    void read_dirty(uint64_t at, void* to, uint64_t bytes) {
        const CompletionStatus status = read(fabric_->region().dirty_rkey, at, to, bytes);
        if (status != CompletionStatus::success)
            throw std::runtime_error(fmt::format("READ of the dirty list memory: {}", to_string(status)));
    }

    json store(uint64_t page, const std::string& file) {
        std::ifstream stream(file, std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
        uint64_t stored = 0;
        CompletionStatus status = CompletionStatus::success;
        for (; stored < bytes.size() / kPageBytes && status == CompletionStatus::success; ++stored)
            status = write((page + stored) * kPageBytes, bytes.data() + stored * kPageBytes, kPageBytes);
        return {{"stored", stored}, {"status", to_string(status)}};
    }

    json read_pages(uint64_t first, uint64_t count) {
        json crcs = json::object();
        std::vector<std::byte> bytes(kPageBytes);
        for (uint64_t page = first; page < first + count; ++page) {
            const CompletionStatus status =
                read(fabric_->region().data_rkey, page * kPageBytes, bytes.data(), kPageBytes);
            if (status != CompletionStatus::success) return {{"page", page}, {"status", to_string(status)}};
            boost::crc_32_type crc;
            crc.process_bytes(bytes.data(), bytes.size());
            crcs[std::to_string(page)] = crc.checksum();
        }
        return {{"crcs", crcs}};
    }

    // The reply to a capsule, whole.
    std::vector<std::byte> call(const void* capsule, size_t bytes) {
        if (!fabric_->post_send(2, {static_cast<const std::byte*>(capsule), bytes}))
            throw std::runtime_error("the connection has ended");
        if (const CompletionStatus status = next(); status != CompletionStatus::success)
            throw std::runtime_error(fmt::format("SEND: {}", to_string(status)));
        std::vector<std::byte> reply(2048);
        const auto end = std::chrono::steady_clock::now() + kPatience;
        size_t received = 0;
        while ((received = fabric_->receive(reply)) == 0) {
            host_->poll();
            if (std::chrono::steady_clock::now() > end) throw std::runtime_error("a capsule is not answered");
        }
        reply.resize(received);
        return reply;
    }
    template <typename Reply>
    static const Reply& as(const std::vector<std::byte>& reply) {
        const auto& header = *reinterpret_cast<const capsule::Header*>(reply.data());
        if (header.status != 0 || reply.size() < sizeof(Reply))
            throw std::runtime_error(fmt::format("a capsule's status is {}", unsigned{header.status}));
        return *reinterpret_cast<const Reply*>(reply.data());
    }
    static capsule::Header header(capsule::Opcode opcode, uint32_t count) {
        capsule::Header made{};
        made.version = capsule::kVersion;
        made.opcode = static_cast<uint8_t>(opcode);
        made.count = count;
        return made;
    }

    json free_pages(uint64_t first, uint64_t count) {
        struct {
            capsule::Header head;
            capsule::PageRange range;
        } request{header(capsule::Opcode::free_pages, 1), {}};
        request.range.first_page = static_cast<uint32_t>(first);
        request.range.page_count = static_cast<uint32_t>(count);
        const auto reply = call(&request, sizeof request);
        const auto& head = *reinterpret_cast<const capsule::Header*>(reply.data());
        if (head.status != 0) return {{"capsule_status", unsigned{head.status}}};
        return {{"freed", uint64_t{as<capsule::FreeReply>(reply).freed_pages}}};
    }

    json fence(uint64_t epoch) {
        struct {
            capsule::Header head;
            capsule::Fence fence;
        } request{header(capsule::Opcode::fence, 0), {}};
        request.fence.epoch = epoch;
        for (uint64_t asked = 1;; ++asked) {
            const auto reply = call(&request, sizeof request);
            const auto& head = *reinterpret_cast<const capsule::Header*>(reply.data());
            if (head.status != 0) return {{"capsule_status", unsigned{head.status}}};
            if (as<capsule::FenceReply>(reply).settled != 0) return {{"asked", asked}};
        }
    }

    json info() {
        const capsule::Header request = header(capsule::Opcode::region_info, 0);
        const auto reply = call(&request, sizeof request);
        const auto& region = as<capsule::RegionInfo>(reply);
        return {{"size_bytes", uint64_t{region.size_bytes}},
                {"present_pages", uint64_t{region.present_pages}},
                {"dirty_pages", uint64_t{region.dirty_pages}},
                {"dirty_bytes", uint64_t{region.dirty_bytes}},
                {"epoch", uint64_t{region.epoch}}};
    }

    Pages query_list(capsule::DirtyQueryKind kind) {
        Pages pages;
        const uint64_t page_count = fabric_->region().size_bytes / kPageBytes;
        for (uint64_t cursor = 0; cursor < page_count;) {
            struct {
                capsule::Header head;
                capsule::DirtyQuery query;
            } request{header(capsule::Opcode::dirty_query, 0), {}};
            request.query.kind = static_cast<uint8_t>(kind);
            request.query.cursor = cursor;
            const auto reply = call(&request, sizeof request);
            const auto& ranges = as<capsule::DirtyRanges>(reply);
            const auto* range = reinterpret_cast<const capsule::PageRange*>(reply.data() + sizeof ranges);
            for (uint32_t i = 0; i < ranges.header.count; ++i)
                for (uint64_t page = 0; page < range[i].page_count; ++page)
                    pages.insert(range[i].first_page + page);
            cursor = ranges.next_cursor;
        }
        return pages;
    }
    json query() {
        using Kind = capsule::DirtyQueryKind;
        return {{"active", ranges_of(query_list(Kind::active_ranges))},
                {"drain", ranges_of(query_list(Kind::drain_ranges))}};
    }

    // docs/protocol.md, "Dirty list memory": summary first, then those parts of the bitmap that it names.
    Pages read_list(uint64_t summary_offset, uint64_t bitmap_offset, uint64_t page_count, Lists& lists) {
        Pages pages;
        std::vector<uint64_t> summary((page_count + 4096 * 64 - 1) / (4096 * 64));
        for (size_t i = 0; i < summary.size(); i += kPatchBytes / 8) {
            const uint64_t bytes = std::min<uint64_t>(kPatchBytes, (summary.size() - i) * 8);
            read_dirty(summary_offset + i * 8, &summary[i], bytes);
            lists.bytes_read += bytes;
        }
        for (uint64_t group = 0; group < summary.size() * 64; ++group)
            if ((summary[group / 64] >> group % 64 & 1) != 0)
                read_bits(bitmap_offset, group * 4096, std::min(page_count, group * 4096 + 4096), pages,
                          lists);
        return pages;
    }
    void read_bits(uint64_t bitmap_offset, uint64_t first, uint64_t end, Pages& pages, Lists& lists) {
        std::vector<uint64_t> words((end - first + 63) / 64);
        read_dirty(bitmap_offset + first / 8, words.data(), words.size() * 8);
        lists.bytes_read += words.size() * 8;
        for (uint64_t page = first; page < end; ++page)
            if ((words[(page - first) / 64] >> page % 64 & 1) != 0) pages.insert(page);
    }
    Lists read_lists() {
        std::vector<uint64_t> header(sizeof(memory::DirtyMemoryHeader) / 8);
        read_dirty(0, header.data(), header.size() * 8);
        const uint64_t page_count = header[3], active = header[7];
        if (header[0] != memory::kDirtyMemoryMagic ||
            static_cast<uint32_t>(header[1]) != memory::kDirtyMemoryVersion || active > 1)
            throw std::runtime_error("the dirty list memory has a header that is none");
        Lists lists;
        lists.drain =
            read_list(header[8 + 2 * (1 - active)], header[9 + 2 * (1 - active)], page_count, lists);
        lists.active = read_list(header[8 + 2 * active], header[9 + 2 * active], page_count, lists);
        for (uint64_t first = 0; first < page_count; first += 4096)
            read_bits(header[12], first, std::min(page_count, first + 4096), lists.present, lists);
        return lists;
    }
    static json show(const Lists& lists) {
        return {{"active", ranges_of(lists.active)},
                {"drain", ranges_of(lists.drain)},
                {"present", ranges_of(lists.present)},
                {"bytes_read", lists.bytes_read}};
    }

    json pull() {
        const Lists lists = read_lists();
        Pages listed = lists.drain;
        listed.insert(lists.active.begin(), lists.active.end());
        json crcs = json::object();
        Pages freed;
        for (const uint64_t page : listed) {
            if (!lists.present.contains(page)) {
                freed.insert(page);
                continue;
            }
            json one = read_pages(page, 1);
            if (!one.contains("crcs")) return one;
            crcs.update(one["crcs"]);
        }
        return {{"crcs", crcs}, {"freed", ranges_of(freed)}};
    }

    NodeClient node_;
    PortClaim claim_;
    std::shared_ptr<DpdkHost> host_;
    std::unique_ptr<DpdkFabric> fabric_;
};

}  // namespace

int main(int argc, char** argv) {
    std::string appliance, region, role = "write", grant;
    std::vector<std::string> arguments;
    CLI::App app("stores, frees and reads pages and dirty lists (a test)");
    app.footer(kExamples);
    app.add_option("--appliance", appliance, "the node API's socket")->required();
    app.add_option("--region", region);
    app.add_option("--role", role)->check(CLI::IsMember({"read", "write", "recover"}));
    app.add_option("--grant", grant, "112 hexadecimal digits, in place of region and role");
    app.add_option("arguments", arguments)->required();
    CLI11_PARSE(app, argc, argv);
    try {
        PageClient client(appliance, region, role, grant);
        for (const std::string& argument : arguments)
            std::puts(client.carry_out(argument).dump().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "page_client: %s\n", error.what());
        return 1;
    }
}
