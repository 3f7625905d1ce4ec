// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/run_command.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "client/pager/attach_listener.h"
#include "client/pager/attach_message.h"
#include "client/pager/open_userfaultfd.h"
#include "client/pager/pager.h"
#include "client/run/preload_library.h"
#include "client/run/program.h"
#include "client/run/report.h"

namespace lagan::client::run {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// How long the pager looks for the next fault before it sleeps: waking it takes longer than most gaps between
// faults.
constexpr microseconds kSpin{50};
// The connection wants its timers served even when no page moves.
constexpr int kSleepMs = 10;
// How often a busy pager looks at what is not a fault: signals, the program's end, a program that attaches.
constexpr milliseconds kLookAround{1};

std::string joined(const char* variable, const std::string& first, char separator, bool first_wins) {
    const char* present = std::getenv(variable);
    if (!present || !*present) return std::string(variable) + "=" + first;
    return std::string(variable) + "=" +
           (first_wins ? first + separator + present : std::string(present) + separator + first);
}

std::vector<std::string> environment(const RunOptions& options, const std::string& preload,
                                     const std::string& socket) {
    return {
        std::string(pager::kSocketVariable) + "=" + socket,
        std::string(pager::kRegionVariable) + "=" + std::to_string(options.region_bytes),
        // Both: without jemalloc in the list, libc's malloc wins.
        joined("LD_PRELOAD", preload + ":libjemalloc.so.2", ':', true),
        // One arena, which has our hooks; large allocations from it as well; freed pages given up after a
        // second, at once for good (there is no cheap half-way on a shared mapping). Later settings win in
        // MALLOC_CONF.
        joined("MALLOC_CONF", "narenas:1,oversize_threshold:0,dirty_decay_ms:1000,muzzy_decay_ms:0", ',',
               false),
    };
}

class Run {
  public:
    Run(const RunOptions& options, Program& program, PageStore& store)
        : options_(options),
          program_(program),
          pager_(store, {options.local_memory_bytes, options.prefetch}),
          store_(store),
          report_(pager_, store, options.progress) {}
    // What is outstanding when the program ends uses the pager's buffers.
    ~Run() { store_.settle(); }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    const std::string& socket_path() const { return listener_.path(); }

    // Until the program has ended. Throws when its memory can no longer be served.
    void serve() {
        Clock::time_point last_work = Clock::now(), last_look = last_work;
        while (!ended_) {
            const bool worked = pager_.step();
            const Clock::time_point now = Clock::now();
            if (worked) {
                last_work = now;
            } else {
                // Who shares this CPU may be the very one that is waited for: the program, or an appliance on
                // this machine.
                sched_yield();
            }
            if (pager_.quiet() && now - last_work > kSpin) {
                look_around(kSleepMs);
                last_look = Clock::now();
            } else if (now - last_look > kLookAround) {
                look_around(0);
                last_look = now;
            }
            report_.tick(now);
        }
    }

    const Report& report() const { return report_; }

  private:
    struct ProgramEnded {};

    void look_around(int timeout_ms) {
        std::array<pollfd, 4> descriptors{{{program_.descriptor(), POLLIN, 0},
                                           {program_.signal_descriptor(), POLLIN, 0},
                                           {listener_.descriptor(), POLLIN, 0},
                                           {pager_.event_descriptor(), POLLIN, 0}}};
        if (poll(descriptors.data(), descriptors.size(), timeout_ms) < 0 && errno != EINTR) {
            throw std::system_error(errno, std::generic_category(), "poll");
        }
        if (descriptors[1].revents != 0) program_.forward_signals();
        if (descriptors[2].revents != 0) attach();
        if (descriptors[0].revents != 0) ended_ = true;
    }

    void attach() {
        auto attachment = listener_.accept(program_.pid(), options_.region_bytes);
        if (!attachment.space) return;
        // A second attachment of the same process is a new image after exec: the old mapping is gone.
        try {
            pager_.attach(std::move(attachment.space), [this] { look_at_program(); });
        } catch (const ProgramEnded&) {
            return;
        }
        pager::AttachListener::confirm(attachment);
    }

    // While an attachment waits for the appliance.
    void look_at_program() {
        if (!program_.wants_attention()) return;
        program_.forward_signals();
        ended_ = program_.has_ended();
        if (ended_) throw ProgramEnded();
    }

    const RunOptions& options_;
    Program& program_;
    pager::AttachListener listener_;
    pager::Pager pager_;
    PageStore& store_;
    Report report_;
    bool ended_ = false;
};

void check(const RunOptions& options) {
    if (options.local_memory_bytes < pager::Pager::kMinLocalMemoryBytes) {
        throw StartError(pager::kExitLaganFailed, "--local-memory must be at least 1 MiB");
    }
    if (options.region_bytes == 0 || options.region_bytes % pager::kPageBytes != 0) {
        throw StartError(pager::kExitLaganFailed, "--region-size must be a positive multiple of 4 KiB");
    }
    const pager::Descriptor userfault(pager::open_userfaultfd());
    if (!userfault) throw StartError(pager::kExitLaganFailed, pager::kNotPermitted);
}

int run_checked(RunOptions options, const OpenStore& open_store) {
    const std::string path = find_program(options.program.front());
    check(options);
    const std::string preload = find_preload(options.preload_path);
    Program program(path, options.program);
    options.interrupted = [&program] { return program.wants_attention(); };
    const std::shared_ptr<PageStore> store = open_store(options);
    if (options.whole_region) options.region_bytes = store->page_count() * pager::kPageBytes;
    if (store->page_count() < options.region_bytes / pager::kPageBytes) {
        throw StartError(pager::kExitLaganFailed,
                         "the region at the appliance is smaller than --region-size");
    }
    Run run(options, program, *store);
    program.execute(environment(options, preload, run.socket_path()));
    try {
        run.serve();
    } catch (const std::exception& error) {
        program.kill();
        program.wait();
        if (store->rolled_back()) {
            std::fprintf(stderr,
                         "lagan: %s; the program was killed, because its memory is not what it has stored "
                         "(--on-rollback continue goes on all the same)\n",
                         store->failure().c_str());
            return pager::kExitRolledBack;
        }
        std::fprintf(stderr,
                     "lagan: %s; the program was killed, because its memory cannot be served any more\n",
                     error.what());
        return pager::kExitFarMemoryLost;
    }
    const int status = program.wait();
    run.report().finish(options.stats_file, status);
    return status;
}

}  // namespace

int run(const RunOptions& options, const OpenStore& open_store) {
    try {
        return run_checked(options, open_store);
    } catch (const StartError& error) {
        std::fprintf(stderr, "lagan: %s\n", error.what());
        return error.exit_status();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lagan: %s\n", error.what());
        return pager::kExitLaganFailed;
    }
}

}  // namespace lagan::client::run
