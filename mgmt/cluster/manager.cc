// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/manager.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <condition_variable>
#include <random>
#include <set>
#include <thread>

#include "mgmt/cluster/api.h"
#include "mgmt/cluster/controller.h"
#include "mgmt/cluster/http_node_client.h"
#include "mgmt/cluster/status_board.h"
#include "mgmt/http/server.h"

namespace lagan::cluster {

using namespace std::chrono_literals;

namespace {

constexpr unsigned kApiThreads = 4;   // for what the directory answers
constexpr unsigned kNodeThreads = 8;  // for what a node is asked for, which may be silent
constexpr unsigned kFailoverThreads = 16;
constexpr auto kWorkEvery = 50ms;
constexpr auto kTidyEvery = 1s;

uint64_t unix_ms() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count());
}

bool asks_nodes(const http::Request& request) {
    const std::string_view path = std::string_view(request.target).substr(0, request.target.find('?'));
    const bool ends = path.ends_with("/home") || path.ends_with("/grants") || path.ends_with("/checkpoint") ||
                      path.ends_with("/checkpoints");
    return ends ||
           (request.method != "GET" && (path.starts_with("/v1/regions") || path.starts_with("/v1/nodes"))) ||
           (request.method == "GET" && path.starts_with("/v1/failovers/"));
}

std::string candidate_of(const std::string& name) {
    std::random_device random;
    return nlohmann::json({{"name", name}, {"process", fmt::format("{:08x}{:08x}", random(), random())}})
        .dump();
}

// One line when something begins to fail, one when it works again.
class Trouble {
  public:
    explicit Trouble(const char* what) : what_(what) {}
    void is(const std::string& text) {
        if (text != last_) spdlog::warn("{}: {}", what_, text);
        last_ = text;
    }
    void is_over() {
        if (!last_.empty()) spdlog::info("{}: good again", what_);
        last_.clear();
    }

  private:
    const char* const what_;
    std::string last_;
};

}  // namespace

struct Manager::Impl {
    explicit Impl(const ManagerOptions& with);
    ~Impl();

    void campaign();  // threads
    void work();
    void tidy();
    void beat(const std::string& node);

    template <typename Work>
    void repeat(const char* what, Clock::duration every, Work&& once);
    bool wait(Clock::duration time);  // false: the end
    bool ends();
    void match_beaters();
    void advance_failovers();

    const ManagerOptions options;
    const std::string candidate;
    std::unique_ptr<Directory> directory;
    Tokens tokens;
    EventFeed events;  // its thread asks whether tokens are there
    HttpNodeClient nodes;
    Views views;
    LeaseBook leases;
    Observations observations;
    const FailoverRunner::Clocks clocks{.unix_ms = unix_ms};
    FailoverRunner runner;
    Controller controller;
    Api api;

    std::mutex mutex;
    std::condition_variable wake;
    bool end = false;                 // under mutex
    std::set<std::string> advancing;  // under mutex: failovers that a thread is at
    struct Beater {
        std::atomic<bool> end{false}, ended{false};
        std::thread thread;
    };
    std::map<std::string, std::unique_ptr<Beater>> beaters;  // of the work thread
    boost::asio::thread_pool pool{kFailoverThreads};
    std::vector<std::thread> threads;
    std::unique_ptr<http::Server> server;
};

Manager::Impl::Impl(const ManagerOptions& with)
    : options(with),
      candidate(candidate_of(with.name)),
      directory(open_directory(with.directory)),
      tokens(*directory),
      events(*directory),
      nodes({.tls = with.nodes_tls, .heartbeat_timeout = with.health.missed * with.health.interval}),
      views(*directory),
      leases(with.lease_ttl),
      observations(with.health),
      runner(*directory, nodes, leases, observations, with.failover, clocks,
             [this](const EventRecord& event) { events.add(event); }),
      controller({*directory, views, nodes, leases, observations, runner, clocks,
                  [this](const EventRecord& event) { events.add(event); }}),
      api({*directory, views, nodes, leases, observations, runner, tokens, events, clocks, with.name}) {
    std::vector<http::Listen> where;
    for (const ListenOptions& listen : options.listen)
        where.push_back({.unix_socket = listen.unix_socket,
                         .tcp = listen.address,
                         .tls = listen.tls.certificate.empty() ? nullptr : http::server_tls(listen.tls)});
    server = std::make_unique<http::Server>(
        where,
        http::Handlers{.lanes = {{.threads = kApiThreads}, {.threads = kNodeThreads, .what = "nodes"}},
                       .lane_of = [](const http::Request& request) { return asks_nodes(request) ? 1 : 0; },
                       .handle = [this](const http::Request& request) { return api.handle(request); }});
    threads.emplace_back([this] { campaign(); });
    threads.emplace_back([this] { work(); });
    threads.emplace_back([this] { tidy(); });
}

Manager::Impl::~Impl() {
    {
        const std::lock_guard lock(mutex);
        end = true;
    }
    wake.notify_all();
    for (std::thread& thread : threads)
        thread.join();
    for (auto& [name, beater] : beaters)
        beater->thread.join();
    pool.join();
    server.reset();
    try {
        directory->resign(candidate);
    } catch (const std::exception& error) {  // then it lapses
        spdlog::debug("leadership was not given back: {}", error.what());
    }
}

bool Manager::Impl::wait(Clock::duration time) {
    std::unique_lock lock(mutex);
    return !wake.wait_for(lock, time, [this] { return end; });
}

bool Manager::Impl::ends() {
    const std::lock_guard lock(mutex);
    return end;
}

template <typename Work>
void Manager::Impl::repeat(const char* what, Clock::duration every, Work&& once) {
    Trouble trouble(what);
    do {
        try {
            once();
            trouble.is_over();
        } catch (const std::exception& error) {
            trouble.is(error.what());
        }
    } while (wait(every));
}

void Manager::Impl::campaign() {
    bool led = false;
    repeat("leadership", options.leader_ttl / 6, [&] {
        const auto asked = Clock::now();
        if (directory->campaign(candidate, options.leader_ttl))
            controller.lead(asked, options.leader_ttl);
        else
            leases.follow();
        const bool leads = leases.leads(Clock::now());
        if (leads != led) spdlog::info(leads ? "this manager leads" : "this manager does not lead any more");
        led = leads;
    });
}

void Manager::Impl::work() {
    repeat("the cluster", kWorkEvery, [this] {
        views.refresh();
        match_beaters();
        if (!leases.leads(Clock::now())) return;
        controller.detect();
        views.refresh();
        advance_failovers();
    });
}

void Manager::Impl::tidy() {
    repeat("tidying up", kTidyEvery, [this] {
        if (!leases.leads(Clock::now())) return;
        publish_status(*directory, *views.last(), observations, Clock::now());
        controller.tidy();
    });
}

// A thread for each node: one that hangs holds up no heartbeat of another, and its removal nobody.
void Manager::Impl::match_beaters() {
    const auto view = views.last();
    for (auto beater = beaters.begin(); beater != beaters.end();) {
        Beater& each = *beater->second;
        if (!view->nodes.contains(beater->first)) each.end = true;
        if (!each.end || !each.ended) {
            ++beater;
            continue;
        }
        each.thread.join();
        observations.forget(beater->first);
        leases.forget(beater->first);
        beater = beaters.erase(beater);
    }
    for (const auto& [name, node] : view->nodes) {
        auto& beater = beaters[name];
        if (beater) continue;
        beater = std::make_unique<Beater>();
        beater->thread = std::thread([this, name = name, own = beater.get()] {
            auto next = Clock::now();
            while (!own->end && !ends()) {
                if (leases.leads(Clock::now())) beat(name);
                next = std::max(next + options.health.interval, Clock::now());
                wait(next - Clock::now());
            }
            own->ended = true;
        });
    }
}

void Manager::Impl::beat(const std::string& node) {
    try {
        controller.beat(node);
    } catch (const std::exception& error) {  // a mistake of ours; the other nodes go on
        observations.failed(node, error.what());
        spdlog::error("heartbeat of {}: {}", node, error.what());
    }
}

void Manager::Impl::advance_failovers() {
    for (const std::string& id : controller.failovers()) {
        {
            const std::lock_guard lock(mutex);
            if (!advancing.insert(id).second) continue;
        }
        boost::asio::post(pool, [this, id] {
            try {
                if (leases.leads(Clock::now())) runner.advance(id);
            } catch (const std::exception& error) {
                spdlog::warn("failover {}: {}; trying again", id, error.what());
            }
            const std::lock_guard lock(mutex);
            advancing.erase(id);
        });
    }
}

Manager::Manager(const ManagerOptions& options) : impl_(std::make_unique<Impl>(options)) {}

Manager::~Manager() = default;

}  // namespace lagan::cluster
