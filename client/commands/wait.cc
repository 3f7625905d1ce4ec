// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/wait.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "client/commands/progress.h"

namespace lagan::client::commands {

using nlohmann::json;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

constexpr auto kAskEvery = 100ms;
constexpr auto kMostSilence = 60s;

std::string g_farewell;  // as a signal handler reads it: not changed while one is installed

volatile std::sig_atomic_t g_interrupted = 0;

void say_farewell(int) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, g_farewell.data(), g_farewell.size());
    _exit(kInterrupted);
}

void note_interrupt(int signal) {
    if (g_interrupted != 0) say_farewell(signal);
    g_interrupted = 1;
}

void install(void (*handler)(int), const std::string& farewell = {}) {
    if (!farewell.empty()) g_farewell = "\nlagan: " + farewell + "\n";
    std::signal(SIGINT, handler);
    std::signal(SIGTERM, handler);
}

}  // namespace

Farewell::Farewell(const std::string& farewell) {
    install(say_farewell, farewell);
}

Farewell::~Farewell() {
    install(SIG_DFL);
}

Interrupts::Interrupts(const std::string& farewell) {
    g_interrupted = 0;
    install(note_interrupt, farewell);
}

Interrupts::~Interrupts() {
    install(SIG_DFL);
}

bool Interrupts::happened() const {
    return g_interrupted != 0;
}

void Interrupts::check() const {
    if (happened()) throw Interrupted();
}

json wait_for_end(Server& server, const Options& options, const std::string& target, const std::string& what,
                  Seen (*look)(const json&), const Interrupts* interrupts) {
    std::optional<Farewell> farewell;
    if (interrupts == nullptr) farewell.emplace(what + " goes on without this command");
    Progress progress(what);
    const auto begin = steady_clock::now();
    auto heard = begin;
    for (;; std::this_thread::sleep_for(kAskEvery)) {
        try {
            const json status = server.get(target);
            heard = steady_clock::now();
            const Seen seen = look(status);
            if (seen.ended) return status;
            if (interrupts != nullptr) interrupts->check();
            progress.show(seen.step, seen.done, seen.all, seen.more);
        } catch (const Refused& refused) {
            if (refused.status != 503 || steady_clock::now() - heard > kMostSilence) throw;
            progress.show(refused.what(), 0, 0);
        } catch (const std::runtime_error& error) {
            if (steady_clock::now() - heard > kMostSilence) throw;
            progress.show(error.what(), 0, 0);
        }
        if (options.timeout_s != 0 && steady_clock::now() - begin > std::chrono::seconds(options.timeout_s))
            throw StillUnderWay(fmt::format("{} is still under way after {} s", what, options.timeout_s));
    }
}

}  // namespace lagan::client::commands
