// SPDX-License-Identifier: BSD-3-Clause
// Stores that never answer, with timeouts of an hour: what waits for them ends when it is stopped or
// cancelled. That a case ends at all is the proof.
#define BOOST_TEST_MODULE baseline_stop
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <thread>

#include "mgmt/baseline/deferred_store.h"
#include "mgmt/recovery/checkpointer.h"
#include "mgmt/recovery/restorer.h"
#include "tests/unit/baseline_fixture.h"
#include "tests/unit/region_fixture.h"
#include "tests/unit/silent_server.h"

using namespace lagan;
using namespace lagan::test;
using memory::Region;
using recovery::CheckpointStatus;
using recovery::RestoreStatus;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

struct Keys {
    Keys() {
        setenv("AWS_ACCESS_KEY_ID", "somebody", 1);
        setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    }
};
BOOST_TEST_GLOBAL_FIXTURE(Keys);

StoreUrl url_of(const std::string& endpoint) {
    return parse_store_url("s3://bucket?timeout=3600&endpoint=" + endpoint);
}

// Does something on a thread of its own. It must have been given up when this ends.
class MustBeGivenUp {
  public:
    template <typename Action>
    explicit MustBeGivenUp(const Action& action) : thread_([this, action] { error_ = error_of(action); }) {}
    ~MustBeGivenUp() {
        thread_.join();
        BOOST_TEST(error_.has_value());
        if (!error_) return;
        BOOST_TEST(name_of(error_->kind()) == "unavailable");
        BOOST_TEST(contains(error_->what(), "shut down"));
    }
    MustBeGivenUp(const MustBeGivenUp&) = delete;
    MustBeGivenUp& operator=(const MustBeGivenUp&) = delete;

  private:
    std::optional<StoreError> error_;  // the thread's until it has ended
    std::thread thread_;
};

// A store whose reads of segments wait until they are interrupted.
class Hanging final : public InterruptibleStore {
  public:
    explicit Hanging(ObjectStore& under) : under_(under) {}
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override {
        if (hangs && key.ends_with(".seg")) {
            waiting = true;
            waiting.notify_all();
            while (sleep_for(std::chrono::hours(1), Interruption::current())) {
            }
        }
        InterruptibleStore::get(key, offset, to);
    }
    const std::string& where() const override { return under_.where(); }
    std::atomic<bool> hangs{false}, waiting{false};

  private:
    std::stop_token token() const override { return Interruption::current(); }
    ObjectStore& target() override { return under_; }
    ObjectStore& under_;
};

struct Node {
    Node() : scratch("baseline_stop_test"), node(scratch.path / "arena", 16ULL << 20, 64) {}
    recovery::Memory memory() {
        return {.regions = node.table,
                .frames = node.pool,
                .rcu = node.rcu.get(),
                .rcu_id = 7,
                .frames_in_flight = 16,
                .damaged = [](const Region&, uint64_t) { abort(); }};
    }
    recovery::Restorer::Control control() {
        return {
            .make_region = [this](const recovery::RestoreRequest& request,
                                  const Manifest& manifest) -> Region& {
                return node.table.create(
                    {.name = request.region, .size_bytes = manifest.region.size_bytes, .restoring = true});
            },
            .complete = [](Region&, uint64_t) { abort(); },
            .drop = [this](Region& region) { node.table.destroy(region); }};
    }
    ScratchArena scratch;
    RegionNode node;
    recovery::Workers workers{{0}};
    recovery::EventLog events{[](const recovery::Event&) {}};
};

void wait_until(const std::function<bool()>& done) {
    while (!done())
        std::this_thread::yield();
}

void require_cancelled(recovery::Restorer& restorer, const std::string& region) {
    wait_until([&] { return restorer.status(region)->state != RestoreStatus::State::running; });
    BOOST_TEST(restorer.status(region)->problem == "the restore was cancelled");
}

}  // namespace

BOOST_AUTO_TEST_CASE(opening_a_store_is_stopped) {
    SilentServer server;
    DeferredStore store(url_of(server.endpoint()));
    const MustBeGivenUp opening([&] { store.open(); });
    const MustBeGivenUp waiting([&] { store.list("r/segments/"); });
    server.wait_for_unanswered(1);
    store.stop();
    require_error([&] { store.list("r/segments/"); }, ErrorKind::unavailable, "shut down");
}

BOOST_AUTO_TEST_CASE(calls_in_progress_are_stopped) {
    constexpr int kCalls = 4;
    SilentServer server(1);  // that the bucket is there
    DeferredStore store(url_of(server.endpoint()));
    store.open();
    const std::vector<std::byte> much(40 << 20);  // more than sockets hold, and more than a part
    const std::vector<Bytes> content{much}, little{Bytes(much).first(8 << 20)};
    std::vector<std::byte> page(kPageBytes);
    {
        const MustBeGivenUp parts([&] { store.put("r/segments/1", content); });
        const MustBeGivenUp whole([&] { store.put("r/segments/2", little); });
        const MustBeGivenUp exclusive([&] { (void)store.put_exclusive("r/manifests/1", page); });
        const MustBeGivenUp reading([&] { store.get("r/segments/1", 0, page); });
        server.wait_for_unanswered(kCalls);
        store.stop();
    }
    require_error([&] { store.put("r/segments/3", little); }, ErrorKind::unavailable, "shut down");
}

// Nobody listens: what is waited for is the next attempt.
BOOST_AUTO_TEST_CASE(pauses_between_attempts_are_stopped) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    const memory::FileDescriptor unused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));  // holds the port
    BOOST_REQUIRE(bind(unused.get(), generic, length) == 0);
    BOOST_REQUIRE(getsockname(unused.get(), generic, &length) == 0);
    DeferredStore store(url_of("http://127.0.0.1:" + std::to_string(ntohs(address.sin_port))));
    std::atomic<bool> begun{false};
    const MustBeGivenUp opening([&] {
        begun = true;
        store.open();
    });
    wait_until([&] { return begun.load(); });
    store.stop();
}

BOOST_AUTO_TEST_CASE(interruptions_nest) {
    std::stop_source outer, inner;
    const Interruption until(outer.get_token());
    {
        const Interruption also(inner.get_token());
        Interruption::check("x");
        inner.request_stop();
        require_error([] { Interruption::check("x"); }, ErrorKind::unavailable, "x: given up");
    }
    Interruption::check("x");
    {
        const Interruption also((std::stop_token()));
        outer.request_stop();
        require_error([] { Interruption::check("x"); }, ErrorKind::unavailable, "x: given up");
    }
    std::thread([] { Interruption::check("x"); }).join();  // another thread's calls go on
}

BOOST_AUTO_TEST_CASE(a_restore_is_cancelled_while_its_store_is_away) {
    SilentServer server;
    Node n;
    DeferredStore store(url_of(server.endpoint()));
    const MustBeGivenUp opening([&] { store.open(); });  // as lagand does at its start
    server.wait_for_unanswered(1);
    {
        recovery::Restorer restorer(n.memory(), 1, store, n.workers, n.events, n.control());
        BOOST_TEST(restorer.begin({.region = "heap.1"}));
        restorer.cancel("heap.1");
        require_cancelled(restorer, "heap.1");
        BOOST_TEST(restorer.begin({.region = "heap.1"}));
    }  // the end cancels, too
    store.stop();
}

BOOST_AUTO_TEST_CASE(a_restore_is_cancelled_in_the_middle) {
    Node n;
    DirectoryStore directory(n.scratch.path / "store");
    {
        BaselineWriter writer(directory, region_of(100));
        checkpoint(writer, {{1, 1}, {2, 2}, {77, 3}}, 1, 1);
    }
    Hanging store(directory);
    recovery::Restorer::Control control = n.control();
    const auto make_region = control.make_region;
    control.make_region = [&](const recovery::RestoreRequest& request, const Manifest& manifest) -> Region& {
        store.hangs = true;  // from here on
        return make_region(request, manifest);
    };
    recovery::Restorer restorer(n.memory(), 1, store, n.workers, n.events, control);
    BOOST_TEST(restorer.begin({.region = "heap.1"}));
    store.waiting.wait(false);
    restorer.cancel("heap.1");
    require_cancelled(restorer, "heap.1");
    BOOST_TEST(n.node.table.list().empty());
}

BOOST_AUTO_TEST_CASE(a_checkpoint_is_cancelled_while_its_store_is_away) {
    SilentServer server(1);
    Node n;
    DeferredStore store(url_of(server.endpoint()));
    Region& region = n.node.table.create("r", 100 * kPageBytes, 0, false);
    recovery::Checkpointer checkpointer(n.memory(), 1, store, {}, n.workers, n.events);
    for (int i = 1; i <= 2; ++i) {
        BOOST_TEST(checkpointer.request(region));
        server.wait_for_unanswered(i);
        checkpointer.cancel(region.id);
        wait_until([&] { return !checkpointer.busy(region.id); });
        const CheckpointStatus status = checkpointer.status(region.id);
        BOOST_TEST((status.state == CheckpointStatus::State::failed));
        BOOST_TEST(status.problem == "the checkpoint was cancelled");
        BOOST_TEST(!status.tried_again);
    }
}
