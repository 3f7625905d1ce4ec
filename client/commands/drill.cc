// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/drill.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "client/commands/drill_client.h"
#include "client/commands/moves.h"
#include "client/commands/progress.h"
#include "client/commands/report.h"
#include "client/commands/wait.h"

namespace lagan::client::commands {

using nlohmann::json;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using Phase = DrillClient::Phase;

namespace {

constexpr const char* kSize = "16MiB";
constexpr auto kLookEvery = 20ms;
constexpr auto kTidyFor = 60s;
constexpr uint32_t kReconnectSeconds = 60;

// What was looked for was not seen.
struct DrillFailed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

std::string random_digits() {
    std::random_device random;
    return fmt::format("{:08x}", random());
}

class Drill {
  public:
    Drill(Server& server, const Options& options)
        : server_(server), options_(options), region_("drill-" + random_digits()) {}

    int run() {
        const Interrupts interrupts(
            fmt::format("region {} may stay: lagan region delete {}", region_, region_));
        interrupts_ = &interrupts;
        try {
            take_all_steps();
        } catch (const Interrupted&) {
            problem_ = "interrupted";
        } catch (const std::exception& error) {
            if (!made_) throw;
            problem_ = error.what();
        }
        client_.reset();
        if (made_) timed("region deleted", [this] { tidy(); });
        tell();
        if (interrupts.happened()) return kInterrupted;
        return problem_.empty() ? kDone : kFailed;
    }

  private:
    void take_all_steps() {
        step("region made", [this] { make_region(); });
        if (has_way()) step("pages stored", [this] { begin_client(); });
        step("checkpoint", [this] { checkpoint(); });
        step("failover", [this] { fail_over(); });
        if (client_) step("pages checked", [this] { check_pages(); });
    }

    template <typename Act>
    void step(const char* name, Act&& act) {
        interrupts_->check();
        timed(name, act);
    }

    // On record also when it fails.
    template <typename Act>
    void timed(const char* name, Act&& act) {
        const auto begin = steady_clock::now();
        const auto note = [&] {
            const std::chrono::duration<double, std::milli> took = steady_clock::now() - begin;
            steps_.push_back({{"step", name}, {"ms", static_cast<uint64_t>(took.count())}});
        };
        try {
            act();
        } catch (...) {
            note();
            throw;
        }
        note();
    }

    bool has_way() const {
        return !options_.way.own_port.interface.empty() || options_.way.fabric == FabricKind::verbs;
    }

    std::string place(const std::string& behind = {}) const { return path_of("regions", region_, behind); }

    void make_region() {
        json request{{"name", region_}, {"size", options_.size.empty() ? kSize : options_.size}};
        if (!options_.node.empty()) request["node"] = options_.node;
        made_ = true;  // perhaps, if no answer comes
        try {
            source_ = word(server_.create("/v1/regions", request), "node");
        } catch (const Refused& refused) {
            if (refused.status < 500 && refused.status != 409) made_ = false;
            throw;
        }
    }

    void begin_client() {
        TargetOptions target = options_.way;
        target.manager = server_.where().manager;
        target.region = region_;
        target.reconnect_seconds = kReconnectSeconds;
        client_ = std::make_unique<DrillClient>(target, std::random_device{}());
        wait_for_client(Phase::filling, "storing known pages");
    }

    void wait_for_client(Phase phase, const char* what) {
        Progress progress("drill of " + region_);
        while (client_->phase() == phase) {
            interrupts_->check();
            progress.show(what, client_->done(), client_->all());
            std::this_thread::sleep_for(kLookEvery);
        }
        fail_with_client();
    }

    void fail_with_client() const {
        if (client_ && client_->phase() == Phase::ended && !client_->result().failure.empty())
            throw DrillFailed("the drill's client: " + client_->result().failure);
    }

    // So that there is something in the baseline, which the failover reads. Without a store there are only
    // dirty pages.
    void checkpoint() {
        try {
            server_.create(place("/checkpoint"), nullptr);
            const json status = wait_for_end(server_, options_, place("/checkpoint"),
                                             "checkpoint of " + region_, look_at_copying, interrupts_);
            if (status.at("state") != "done")
                throw DrillFailed(fmt::format("the checkpoint is {}: {}", word(status, "state"),
                                              or_dash(status.at("problem"))));
        } catch (const Refused& refused) {
            if (refused.status != 409) throw;
            notes_.push_back(fmt::format("no checkpoint: {}", refused.what()));
        }
    }

    void fail_over() {
        json request{{"region", region_}, {"reason", "lagan failover test"}};
        if (!options_.target.empty()) request["target"] = options_.target;
        const json begun = server_.create("/v1/failovers", request);
        failover_ = wait_for_end(server_, options_, path_of("failovers", word(begun, "id")),
                                 "failover of " + region_, look_at_move, interrupts_);
        if (failover_.at("step") != "done")
            throw DrillFailed(fmt::format("the failover ended as \"{}\": {}", word(failover_, "step"),
                                          or_dash(failover_.at("problem"))));
        const json region = server_.get(place());
        if (region.at("node") == source_ || !region.at("rolled_back").is_null())
            throw DrillFailed(fmt::format("the region is at {}, {}", word(region, "node"),
                                          region.at("rolled_back").is_null() ? "as before" : "rolled back"));
    }

    void check_pages() {
        fail_with_client();
        client_->check();
        wait_for_client(Phase::working, "reading all pages back");
        wait_for_client(Phase::checking, "reading all pages back");
        const DrillClient::Result& result = client_->result();
        checked_ = {{"pages", result.pages},
                    {"operations", result.operations},
                    {"wrong_pages", result.wrong_pages},
                    {"longest_wait_ms", result.longest_wait_ms}};
        if (result.wrong_pages != 0)
            throw DrillFailed(fmt::format("{} pages are not as they were stored", result.wrong_pages));
    }

    // A region cannot be deleted while it is on its way.
    void tidy() {
        const auto end = steady_clock::now() + kTidyFor;
        for (;; std::this_thread::sleep_for(100ms)) {
            try {
                server_.del(place());
                return;
            } catch (const Refused& refused) {
                if (refused.status == 404) return;
                if (refused.status == 409 && steady_clock::now() < end) continue;
                return leave_behind(refused.what());
            } catch (const std::exception& error) {
                return leave_behind(error.what());
            }
        }
    }

    void leave_behind(const char* why) {
        const std::string what =
            fmt::format("region {} stays: {}; delete it: lagan region delete {}", region_, why, region_);
        problem_ += (problem_.empty() ? "" : "; ") + what;
    }

    json report() const {
        return {{"result", problem_.empty() ? "passed" : "failed"},
                {"problem", problem_.empty() ? json() : json(problem_)},
                {"region", region_},
                {"from", source_.empty() ? json() : json(source_)},
                {"to", failover_.is_null() ? json() : failover_.at("target")},
                {"steps", steps_},
                {"failover", failover_},
                {"client", checked_},
                {"notes", notes_}};
    }

    void tell() const {
        if (options_.json) return print_json(report());
        Rows rows;
        for (const json& step : steps_) {
            rows.push_back({word(step, "step"), fmt::format("{}", number(step, "ms"))});
            if (step.at("step") != "failover" || failover_.is_null()) continue;
            const json& times = failover_.at("times");
            for (size_t i = 1; i < times.size(); ++i)
                rows.push_back({"  " + word(times[i], "step"),
                                fmt::format("{}", number(times[i], "ms") - number(times[i - 1], "ms"))});
        }
        fmt::print("{}", table_text({"STEP", "MS"}, rows));
        for (const json& note : notes_)
            fmt::print("{}\n", note.get<std::string>());
        if (!checked_.is_null())
            fmt::print("a client read and stored all the while: {} operations, the longest took {:.0f} ms\n",
                       number(checked_, "operations"), checked_.at("longest_wait_ms").get<double>());
        if (!problem_.empty()) {
            fmt::print(stderr, "lagan: the drill has failed: {}\n", problem_);
            return;
        }
        fmt::print(
            "passed: from {} to {} in {} ms; {}\n", source_, word(failover_, "target"), took_ms(failover_),
            checked_.is_null() ? "no pages were stored (--interface and --local-address, or --fabric "
                                 "verbs, let a client take part)"
                               : fmt::format("{} pages are as they were stored", number(checked_, "pages")));
    }

    Server& server_;
    const Options& options_;
    const std::string region_;
    const Interrupts* interrupts_ = nullptr;
    bool made_ = false;
    std::string source_, problem_;
    std::unique_ptr<DrillClient> client_;
    json steps_ = json::array(), notes_ = json::array();
    json failover_, checked_;
};

}  // namespace

int run_drill(Server& server, const Options& options) {
    return Drill(server, options).run();
}

}  // namespace lagan::client::commands
