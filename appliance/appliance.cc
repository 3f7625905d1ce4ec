// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/appliance.h"

#include <rte_launch.h>
#include <rte_malloc.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "appliance/control_loop.h"
#include "appliance/eal.h"
#include "appliance/local_node.h"
#include "appliance/log.h"
#include "appliance/progress_log.h"
#include "appliance/size_text.h"
#include "datapath/poll_loop.h"

namespace lagan::appliance {

namespace {

constexpr uint32_t kMaxRkeys = 1U << 16;
constexpr size_t kSmallPageBytes = 4096;
constexpr size_t kHugePageBytes = 2U << 20;

void say(const recovery::Event& event) {
    const auto level = event.severity == recovery::Severity::info      ? spdlog::level::info
                       : event.severity == recovery::Severity::warning ? spdlog::level::warn
                                                                       : spdlog::level::err;
    spdlog::log(level, "{}{}{}", event.region.empty() ? "" : "region " + event.region + ": ",
                event.kind == "checkpoint_done" ? "checkpoint, " : "", event.text);
}

void plan_cpus(Appliance& a) {
    a.events = std::make_unique<recovery::EventLog>(say);
    LcoreRequest request{.poll_cpus = a.options.poll.lcores, .control_cpu = a.options.poll.control_cpu};
    for (const PortOptions& port : a.options.ports) {
        request.max_pollers = std::max(request.max_pollers, port.queues);
        request.port_nodes.push_back(port_numa_node(port));
    }
    const std::vector<Cpu> cpus = usable_cpus();
    a.plan = plan_lcores(cpus, request);
    for (const Cpu& cpu : cpus) {
        const auto polls = [&](const PollLcore& poller) { return poller.cpu.number == cpu.number; };
        if (std::none_of(a.plan.pollers.begin(), a.plan.pollers.end(), polls))
            a.worker_cpus.push_back(cpu.number);
    }
    if (a.worker_cpus.empty()) a.worker_cpus.push_back(a.plan.control.number);
    for (const std::string& line : describe(a.plan))
        spdlog::info("plan: {}", line);
}

// Early: what is wrong with them is better said before memory is committed.
void look_at_ports(Appliance& a) {
    for (size_t i = 0; i < a.options.ports.size(); ++i) {
        const PortOptions& port = a.options.ports[i];
        prepare_port(port);
        a.devices.push_back(device_arguments(port, i, a.queues_of(port)));
    }
}

void read_key(Appliance& a) {
    const std::filesystem::path& directory = a.options.node.state_dir;
    if (std::filesystem::create_directories(directory)) {
        std::filesystem::permissions(directory, std::filesystem::perms::owner_all);
    }
    a.key = std::make_unique<GrantKey>(GrantKey::load_or_create(a.options.node.state_dir / "grant.key"));
}

memory::Arena::Start arena_start(const StartOptions& start) {
    if (!start.rescue.empty()) return memory::Arena::Start::look;
    return start.empty_arena ? memory::Arena::Start::empty : memory::Arena::Start::keep;
}

void tell_found(const std::vector<memory::FoundRegion>& regions, std::chrono::duration<double> took) {
    for (const memory::FoundRegion& region : regions) {
        spdlog::info("region {}: found, {} pages present", region.record.name, region.present_pages);
        if (region.damaged_pages != 0)
            spdlog::error(
                "region {}: {} pages are damaged: reads of them are refused until they are stored again",
                region.record.name, region.damaged_pages);
    }
    if (!regions.empty()) spdlog::info("arena: {} regions walked in {:.3f} s", regions.size(), took.count());
}

// Before EAL: it pins this thread, and the arena is prepared on all processors.
void open_arena(Appliance& a) {
    const ArenaPlan plan = plan_arena(a.options);
    spdlog::info("arena: {} ({})", plan.directory.string(), plan.reason);
    a.arena = std::make_unique<memory::Arena>(memory::Arena::Options{.directory = plan.directory,
                                                                     .frame_bytes = plan.frame_bytes,
                                                                     .start = arena_start(a.options.start),
                                                                     .progress = ProgressLog("arena")});
    spdlog::info("arena: {} {}", format_size(a.arena->frames().size()),
                 a.arena->reopened() ? "opened" : "made");
    const auto begin = std::chrono::steady_clock::now();
    a.found = memory::walk_regions(*a.arena);
    tell_found(a.found.regions, std::chrono::steady_clock::now() - begin);
    for (const std::string& region : a.found.half_restored)
        a.events->add(recovery::Severity::warning, "restore_interrupted", region,
                      "its restore had not ended when lagand did: what there was of it is dropped; ask for "
                      "the restore again");
    a.left_out = std::move(a.found.left_out);
    for (const memory::LeftOutRegion& region : a.left_out)
        spdlog::error("region {}: is left out: {}", region.id, region.reason);
    a.key = std::make_unique<GrantKey>(a.key->for_arena(a.arena->instance()));
}

void close_arena(Appliance& a) {
    if (!a.arena) return;
    const std::filesystem::path directory = a.arena->directory();
    if (a.arena->read_only()) {
        spdlog::info("arena: {} is as it was", directory.string());
    } else if (memory::Arena::kept_in(directory)) {
        spdlog::info("arena: {} keeps the regions for the next start; to give its memory back: rm -r {}",
                     directory.string(), directory.string());
    } else {
        a.arena->discard();  // nothing to be found again
    }
    a.arena.reset();
}

void init_eal(Appliance& a) {
    const auto engine_count = static_cast<uint32_t>(a.plan.pollers.size());
    a.engine_options = size_engine(a.options, a.arena->frames().size() / memory::kPageBytes, engine_count);
    const uint64_t bytes = eal_memory_bytes(a.engine_options, engine_count);
    const bool huge = use_huge_pages(a.options.memory.huge_pages, bytes, huge_page_room());
    start_eal(eal_arguments({.lcores = a.plan,
                             .devices = a.devices,
                             .memory_bytes = bytes,
                             .huge_pages = huge,
                             .file_prefix = "lagan-" + a.options.node.name,
                             .log_level = a.options.log.level}));
    a.eal_runs = true;
    spdlog::info("DPDK: {} for packets on {} pages", format_size(bytes), huge ? "huge" : "4 KiB");
}

void end_eal(Appliance& a) {
    if (std::exchange(a.eal_runs, false)) stop_eal();
}

void make_memory(Appliance& a) {
    const auto engine_count = static_cast<uint32_t>(a.plan.pollers.size());
    const uint32_t readers = engine_count + 2;  // and checkpoints, and this thread
    a.rcu.reset(static_cast<rte_rcu_qsbr*>(
        rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(readers), RTE_CACHE_LINE_SIZE)));
    if (!a.rcu || rte_rcu_qsbr_init(a.rcu.get(), readers) != 0) throw std::runtime_error("no memory for RCU");
    a.control_workers = std::make_unique<recovery::Workers>(a.worker_cpus);
    a.frames =
        std::make_unique<memory::FramePool>(a.arena->frames(), a.arena->frame_meta(), a.found.published);
    a.rkeys = std::make_unique<memory::RkeyTable>(kMaxRkeys);
    a.regions = std::make_unique<memory::RegionTable>(
        *a.arena, *a.frames, *a.rkeys, a.rcu.get(), slack_frames(a.engine_options, engine_count),
        cut_frames(a.options, a.frames->capacity()),
        memory::RcuReaders{.control = engine_count + 1, .checkpoint = engine_count});
    a.regions->adopt(std::move(a.found.regions));
    a.found = {};
    for (const memory::Region* region : a.regions->list())
        if (region->temporary && !a.rescues()) a.temporary_regions[region->id] = {};
    spdlog::info("memory: {} for regions", format_size(a.regions->budget().usable() * memory::kPageBytes));
}

void drop_memory(Appliance& a) {
    a.regions.reset();
    a.rkeys.reset();
    a.frames.reset();
    a.control_workers.reset();
    a.rcu.reset();
}

void make_engines(Appliance& a) {
    a.qps = std::make_unique<QpTable>(a.options.rdma.max_qps, a.rcu.get());
    const Shared shared{.qps = *a.qps,
                        .rkeys = *a.rkeys,
                        .rcu = a.rcu.get(),
                        .frames = a.frames.get(),
                        .budget = &a.regions->budget()};
    for (const PollLcore& poller : a.plan.pollers) {
        EngineOptions options = a.engine_options;
        options.index = static_cast<uint32_t>(a.engines.size());
        options.socket = poller.cpu.numa_node;
        a.engines.push_back(std::make_unique<Engine>(shared, options));
    }
    std::vector<Engine*> peers;
    for (const auto& engine : a.engines)
        peers.push_back(engine.get());
    for (const auto& engine : a.engines)
        engine->peers = peers;
}

void drop_engines(Appliance& a) {
    a.engines.clear();  // lets go of queue pairs, so before their table
    a.qps.reset();
}

void open_ports(Appliance& a) {
    const size_t arena_page = a.arena->huge_pages() ? kHugePageBytes : kSmallPageBytes;
    for (size_t i = 0; i < a.options.ports.size(); ++i) {
        // Ports start at different engines, so that several with one queue each are spread over the lcores.
        const auto engine_of = [&](size_t queue) -> Engine& {
            return *a.engines[(i + queue) % a.engines.size()];
        };
        std::vector<rte_mempool*> pools;
        for (uint32_t queue = 0; queue < a.queues_of(a.options.ports[i]); ++queue)
            pools.push_back(engine_of(queue).rx_pool());
        a.ports.push_back(std::make_unique<Port>(a.options.ports[i], a.devices[i], pools));
        Port& port = *a.ports.back();
        // What cannot be written cannot be mapped for DMA either: a rescue copies.
        if (!a.rescues()) port.map_for_dma(a.arena->frames(), arena_page);
        for (uint32_t queue = 0; queue < port.queues(); ++queue)
            engine_of(queue).add_port(port.id(), static_cast<uint16_t>(queue), port.linear() || a.rescues());
        spdlog::info("{}", port.describe());
    }
}

void close_ports(Appliance& a) {
    a.ports.clear();
}

struct PollTask {
    Engine* engine;
    const std::atomic<bool>* stop;
};

void start_polling(Appliance& a) {
    for (size_t i = 0; i < a.engines.size(); ++i) {
        auto task = std::make_unique<PollTask>(PollTask{a.engines[i].get(), &a.stop_polling});
        const auto run = [](void* argument) {
            const std::unique_ptr<PollTask> mine(static_cast<PollTask*>(argument));
            run_poll_loop(*mine->engine, *mine->stop);
            return 0;
        };
        if (rte_eal_remote_launch(run, task.get(), a.plan.pollers[i].lcore) != 0) {
            throw std::runtime_error("cannot start lcore " + std::to_string(a.plan.pollers[i].lcore));
        }
        static_cast<void>(task.release());  // the lcore's now
    }
}

void stop_polling(Appliance& a) {
    a.stop_polling = true;
    rte_eal_mp_wait_lcore();
}

void make_control_plane(Appliance& a) {
    std::vector<Engine*> engines;
    for (const auto& engine : a.engines)
        engines.push_back(engine.get());
    a.leases = std::make_unique<Leases>(a);
    a.binding = std::make_unique<cm::EngineBinding>(*a.qps, std::move(engines));
    a.admission = std::make_unique<Admission>(*a.key, *a.regions, *a.binding,
                                              a.options.rdma.responder_resources, a.rescues());
    std::vector<net::PortConfig> configs;
    for (const auto& port : a.ports)
        configs.push_back(port->config());
    a.control_plane = std::make_unique<cm::ControlPlane>(*a.binding, std::move(configs), *a.binding,
                                                         cm::CmOptions{}, log_sink());
    a.control_plane->connections().listen(
        a.options.rdma.service_port, [&a](const cm::ConnectRequest& request) {
            const auto now = std::chrono::system_clock::now().time_since_epoch();
            return a.admission->decide(
                request,
                static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()));
        });
}

// Their clients are gone: nobody would come back for them.
void delete_forsaken_regions(Appliance& a) {
    for (const auto& [id, rounds] : a.temporary_regions) {
        memory::Region* region = rounds == 0 ? nullptr : a.regions->find(id);
        if (region != nullptr) a.regions->destroy(*region);
    }
}

void drop_control_plane(Appliance& a) {
    if (a.control_plane) {
        delete_forsaken_regions(a);
        close_connections(a);
    }
    a.control_plane.reset();
    a.admission.reset();
    a.binding.reset();
    a.leases.reset();
}

void open_queue(Appliance& a) {
    a.queue = std::make_unique<ControlQueue>();
}

void drop_queue(Appliance& a) {
    a.queue.reset();
}

void open_baseline(Appliance& a) {
    if (!a.options.baseline.store.empty() && !a.arena->read_only())
        a.recovery = std::make_unique<Recovery>(a);
    if (!a.arena->read_only()) a.rebuilds = std::make_unique<Rebuilds>(a);
}

// Cancels what runs; a region half restored is dropped at the next start, one half rebuilt goes on then.
void close_baseline(Appliance& a) {
    if (a.queue) a.queue->close();
    a.rebuilds.reset();
    a.recovery.reset();
}

void open_api(Appliance& a) {
    a.node = std::make_unique<LocalNode>(a);
    a.api = std::make_unique<NodeApi>(*a.node, *a.queue);
    std::vector<http::Listen> where{{.unix_socket = a.options.node.api_socket}};
    if (const ApiOptions& api = a.options.api; api.listen)
        where.push_back({.tcp = *api.listen,
                         .tls = http::server_tls(
                             {.certificate = api.certificate, .key = api.key, .client_ca = api.client_ca})});
    a.server = std::make_unique<http::Server>(std::move(where), a.api->handlers());
    spdlog::info("node API: {}{}", a.options.node.api_socket.string(),
                 a.options.api.listen ? " and https://" + http::to_string(*a.options.api.listen) : "");
}

void close_api(Appliance& a) {
    if (a.queue) a.queue->close();
    if (a.recovery) a.recovery->stop();  // a request may wait for its store, or for the end of a rebuild
    if (a.rebuilds) a.rebuilds->stop();
    a.server.reset();
    a.api.reset();
    a.node.reset();
}

void nothing(Appliance&) {}

// `stop` is called for a step that failed half-way, too: it takes what is there. (What lies in DPDK's memory
// must not outlive DPDK.)
struct Step {
    const char* name;
    void (*start)(Appliance&);
    void (*stop)(Appliance&);
};

constexpr Step kSteps[] = {
    {"lcore plan", plan_cpus, nothing},
    {"a look at the ports", look_at_ports, nothing},
    {"grant key", read_key, nothing},
    {"arena", open_arena, close_arena},
    {"DPDK", init_eal, end_eal},
    {"memory", make_memory, drop_memory},
    {"engines", make_engines, drop_engines},
    {"ports", open_ports, close_ports},
    {"poll loops", start_polling, stop_polling},
    {"control plane", make_control_plane, drop_control_plane},
    {"control queue", open_queue, drop_queue},
    {"baseline", open_baseline, close_baseline},
    {"node API", open_api, close_api},
};

void undo(Appliance& appliance, size_t steps_done) {
    for (size_t i = steps_done; i-- > 0;) {
        spdlog::debug("stopping: {}", kSteps[i].name);
        kSteps[i].stop(appliance);
    }
}

}  // namespace

void RcuDeleter::operator()(rte_rcu_qsbr* rcu) const {
    rte_free(rcu);
}

uint32_t Appliance::queues_of(const PortOptions& port) const {
    return std::min(port.queues, static_cast<uint32_t>(plan.pollers.size()));
}

memory::Region& Appliance::create_region(const memory::RegionTable::Spec& spec) {
    return *control_workers->run([&] { return &regions->create(spec); });
}

void start(Appliance& appliance) {
    for (size_t i = 0; i < std::size(kSteps); ++i) {
        spdlog::debug("starting: {}", kSteps[i].name);
        try {
            kSteps[i].start(appliance);
        } catch (...) {
            undo(appliance, i + 1);
            throw;
        }
    }
}

void stop(Appliance& appliance) {
    undo(appliance, std::size(kSteps));
}

}  // namespace lagan::appliance
