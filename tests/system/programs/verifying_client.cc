// SPDX-License-Identifier: BSD-3-Clause
// Stores, reads and frees in a region of zeros, over connections that come back by themselves, and knows
// every byte of it. Does what standard input says, line by line, and answers each line with one of JSON:
//
//   load            loads from now on, until there is another line; after every slice of it reads everything
//   quiet           nothing but the answer: the load has ended, and everything has been read
//   baseline STORE  compares the newest cut in the store with what is in the region
//   leave           ends the connections
//   join            connects again and reads everything
//
// A mismatch is in every answer from then on, and is exit status 1 at the end of the input.
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "client/bench/load.h"
#include "client/target.h"
#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/store_url.h"

using namespace lagan;
using namespace lagan::bench;
using nlohmann::json;

namespace {

constexpr uint32_t kReconnectSeconds = 100;

class VerifyingClient {
  public:
    VerifyingClient(const std::string& appliance, const std::string& region, uint64_t seed)
        : target_({.appliance = appliance, .region = region, .reconnect_seconds = kReconnectSeconds}),
          region_(region),
          random_(seed) {
        options_.mix = Mix::parse("read=30,write=50,free=20");
        options_.op_bytes = 8192;
        options_.align_bytes = 512;
        options_.depth = 16;
        options_.qps = 2;
        options_.warmup_seconds = 0;
        options_.verify = true;
        options_.seed = seed;
        options_.target.reconnect_seconds = kReconnectSeconds;
        join();
    }

    json carry_out(const std::string& line) {
        loading_ = line == "load";
        if (line == "leave") {
            leave();
        } else if (line == "join") {
            join();
            read_all();
        } else if (line.starts_with("baseline ")) {
            return compare_baseline(line.substr(line.find(' ') + 1));
        } else if (!loading_ && line != "quiet") {
            throw std::runtime_error("unknown line: " + line);
        }
        return state();
    }

    // Until there is something to read on standard input.
    void load_on() {
        while (loading_) {
            pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
            if (::poll(&input, 1, 0) != 0) return;
            options_.seconds = static_cast<double>(50 + random_() % 150) / 1e3;
            load_->run([] {});
            check_connections();
            read_all();
        }
    }

    uint64_t mismatches() const { return verifier_ ? verifier_->mismatches() : 0; }

    void leave() {
        for (const auto& connection : connections_) {
            reconnections_ += connection->reconnections();
            connection->disconnect();
        }
        load_.reset();
        connections_.clear();
    }

  private:
    void join() {
        for (uint32_t i = 0; i < options_.qps; ++i) {
            auto session = target_.connect(Role::write);
            region_bytes_ = session->size_bytes();
            if (!verifier_)
                verifier_ = std::make_unique<Verifier>(region_bytes_, options_.align_bytes,
                                                       static_cast<uint32_t>(options_.seed));
            const uint64_t each = region_bytes_ / options_.qps;
            connections_.push_back(std::make_unique<Connection>(
                std::move(session), options_.depth, options_.op_bytes,
                Connection::Share{i * each, (i + 1) * each}, verifier_.get(), figures_));
        }
        load_ = std::make_unique<Load>(options_, region_bytes_, connections_, figures_, stop_);
    }

    void check_connections() const {
        if (!load_->failure().empty()) throw std::runtime_error("connection lost: " + load_->failure());
    }

    // Nothing else is under way then: there is one right answer for every byte.
    void read_all() {
        for (const auto& connection : connections_) {
            for (uint64_t at = connection->share().begin; at < connection->share().end; check_connections()) {
                if (connection->post({OpKind::read, at, options_.op_bytes, 0})) at += options_.op_bytes;
                connection->poll();
            }
            for (; !connection->is_idle(); check_connections())
                connection->poll();
        }
        ++rounds_;
    }

    void compare(uint64_t page, std::span<const std::byte> data) {
        verifier_->posted_read(page * kPageBytes, kPageBytes, true, newest_);
        verifier_->check_read(page * kPageBytes, data, newest_);
    }

    json compare_baseline(const std::string& url) {
        const auto store = baseline::open_store(url);
        const baseline::BaselineReader reader(*store, region_);
        std::vector<bool> there(region_bytes_ / kPageBytes);
        bool whole = reader.losses().empty();
        for (size_t i = 0; i < reader.segment_count(); ++i)
            whole &= reader
                         .load(i,
                               [&](const baseline::StoredPage& page) {
                                   whole &= page.kind == baseline::PageKind::data;
                                   if (page.kind == baseline::PageKind::data)
                                       compare(page.page, {page.data, kPageBytes});
                                   there.at(page.page) = true;
                               })
                         .empty();
        const std::vector<std::byte> zeros(kPageBytes);
        for (uint64_t page = 0; page < there.size(); ++page)
            if (!there[page]) compare(page, zeros);
        json answer = state();
        answer["cut_number"] = reader.manifest().cut_number;
        answer["data_pages"] = std::count(there.begin(), there.end(), true);
        answer["whole"] = whole;
        return answer;
    }

    json state() const {
        json answer = {{"rounds", rounds_},
                       {"reconnections", reconnections_},
                       {"cells_verified", verifier_->cells_checked()},
                       {"mismatches", verifier_->mismatches()},
                       {"reports", verifier_->reports()}};
        for (uint32_t kind = 0; kind < kOpKinds; ++kind)
            answer[kOpNames[kind]] = figures_.latency[kind].count();
        for (const auto& connection : connections_)
            answer["reconnections"] = answer["reconnections"].get<uint64_t>() + connection->reconnections();
        return answer;
    }

    client::Target target_;  // outlives the connections
    const std::string region_;
    Options options_;
    std::mt19937_64 random_;
    Figures figures_;
    const std::atomic<bool> stop_{false};
    std::unique_ptr<Verifier> verifier_;
    Load::Connections connections_;
    std::unique_ptr<Load> load_;
    uint64_t region_bytes_ = 0;
    std::vector<uint32_t> newest_;
    uint64_t rounds_ = 0, reconnections_ = 0;
    bool loading_ = false;
};

void say(const json& answer) {
    std::puts(answer.dump().c_str());
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    std::string appliance, region;
    uint64_t seed = 1;
    CLI::App app("knows every byte of a region that it stores to (a test)");
    app.add_option("--appliance", appliance, "the node API's socket")->required();
    app.add_option("--region", region, "a new one")->required();
    app.add_option("--seed", seed);
    CLI11_PARSE(app, argc, argv);
    try {
        VerifyingClient client(appliance, region, seed);
        say({{"ready", true}});
        for (std::string line; std::getline(std::cin, line); client.load_on())
            say(client.carry_out(line));
        client.leave();
        return client.mismatches() == 0 ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "verifying_client: %s\n", error.what());
        return 1;
    }
}
