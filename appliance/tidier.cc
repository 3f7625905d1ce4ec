// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/tidier.h"

#include <fmt/format.h>

#include <array>
#include <span>
#include <vector>

#include "appliance/log.h"

namespace lagan::appliance {

using namespace std::chrono_literals;

constexpr auto kTidyEvery = 1s;
constexpr uint32_t kDamagedTold = 32;  // lines in the log, per round and lcore

Tidier::Tidier(Appliance& appliance) : a_(appliance), next_(Clock::now() + kTidyEvery) {
    a_.control_plane->connections().set_established_handler([this](const QpAttributes& attributes) {
        established_[attributes.qpn] = {.losses_before = losses_of(attributes.path.port_id)};
        // Said here: a connection can come and go between two rounds.
        const auto temporary = a_.temporary_regions.find(attributes.region_id);
        if (temporary != a_.temporary_regions.end()) temporary->second = 0;
    });
}

Tidier::~Tidier() {
    a_.control_plane->connections().set_established_handler({});
}

void Tidier::tidy_sometimes() {
    if (Clock::now() < next_) return;
    next_ = Clock::now() + kTidyEvery;
    close_failed();
    close_vanished();
    probe_silent();
    delete_temporary_regions();
    tell_damaged();
    if (a_.recovery) a_.recovery->tick();
}

void Tidier::tell_damaged() {
    for (const auto& engine : a_.engines) {
        std::array<DamagedPage, kDamagedTold> pages;
        const uint32_t count = engine->take_damaged(pages.data(), kDamagedTold);
        for (const DamagedPage& page : std::span(pages).first(count)) {
            const memory::Region* region = a_.regions->find(static_cast<uint32_t>(page.region_id));
            if (region == nullptr) continue;  // deleted meanwhile
            a_.events->add(
                recovery::Severity::alarm, "page_damaged", region->name,
                fmt::format("page {} is damaged (its bytes are not what was stored): reads of it are "
                            "refused until it is stored again or freed",
                            page.page));
        }
    }
}

void Tidier::close_failed() {
    std::set<uint32_t> now;
    a_.qps->for_each([&](const Qp& qp) {
        if (qp.failed.load(std::memory_order_relaxed)) now.insert(qp.qpn);
    });
    for (const uint32_t qpn : now) {
        if (!failed_.contains(qpn)) continue;
        a_.control_plane->connections().close(qpn);
        ++a_.failed_closed;
    }
    failed_ = std::move(now);
}

uint32_t Tidier::losses_of(uint16_t port_id) const {
    const Port* port = port_of(port_id);
    return port == nullptr ? 0 : port->losses();
}

const Port* Tidier::port_of(uint16_t port_id) const {
    for (const auto& port : a_.ports)
        if (port->id() == port_id) return port.get();
    return nullptr;
}

void Tidier::close_vanished() {
    std::vector<uint32_t> vanished;
    for (auto entry = established_.begin(); entry != established_.end();) {
        const Qp* qp = a_.qps->find(entry->first);
        if (qp == nullptr) {
            entry = established_.erase(entry);
            continue;
        }
        if (losses_of(qp->attributes.path.port_id) != entry->second.losses_before)
            vanished.push_back(entry->first);
        ++entry;
    }
    for (const uint32_t qpn : vanished)
        a_.control_plane->connections().close(qpn);
    a_.vanished_closed += vanished.size();
}

void Tidier::probe_silent() {
    const uint32_t rounds = a_.options.rdma.keepalive_seconds;  // a round is a second
    if (rounds == 0) return;
    for (auto& [qpn, state] : established_) {
        Qp* qp = a_.qps->find(qpn);
        if (qp == nullptr) continue;
        // A client that stands still (a debugger, Ctrl-Z) is none that has gone: its link would tell.
        const net::Path& path = qp->attributes.path;
        const Port* port = port_of(path.port_id);
        if (port == nullptr || port->link_tells_of(path.remote_ip)) continue;
        state.silent_rounds =
            qp->has_received.exchange(false, std::memory_order_relaxed) ? 0 : state.silent_rounds + 1;
        if (state.silent_rounds < rounds) continue;
        state.silent_rounds = 0;
        a_.engines[qp->engine]->probe_qp(*qp);
    }
}

void Tidier::delete_temporary_regions() {
    std::vector<std::string> gone;
    for (auto entry = a_.temporary_regions.begin(); entry != a_.temporary_regions.end();) {
        const uint32_t id = entry->first;
        const memory::Region* region = a_.regions->find(id);
        if (region == nullptr) {
            entry = a_.temporary_regions.erase(entry);
            continue;
        }
        bool connected = false;
        a_.qps->for_each([&](const Qp& qp) { connected |= qp.region_id == id; });
        entry->second = connected ? 0 : entry->second + 1;
        if (entry->second >= a_.options.memory.temporary_region_seconds)  // a round is a second
            gone.push_back(region->name);
        ++entry;
    }
    for (const std::string& name : gone) {
        try {
            a_.node->delete_region(name, 0);
            spdlog::info("region {}: temporary, and nobody was connected any more", name);
        } catch (const ServiceError& error) {
            spdlog::info("{}", error.what());  // a checkpoint has to end first: the next round comes
        }
    }
}

}  // namespace lagan::appliance
