// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/leases.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <time.h>

#include <vector>

#include "appliance/appliance.h"

namespace lagan::appliance {

using namespace std::chrono_literals;

namespace {

constexpr auto kTickEvery = 100ms;

uint64_t boottime_ms() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

}  // namespace

Leases::Leases(Appliance& appliance)
    : a_(appliance), clock_(rte_rdtsc(), rte_get_tsc_hz()), next_(Clock::now() + kTickEvery) {}

std::string Leases::refusal_of(const LeaseRequest& wanted, const memory::Region* region) const {
    if (region == nullptr || region->restoring) return "there is no such region";
    if (region->uid != wanted.uid) return "the region of this name has another uid";
    if (region->epoch != wanted.epoch)
        return fmt::format("the region has epoch {} here, not {}", region->epoch, wanted.epoch);
    if (region->temporary) return "a temporary region has no lease";
    if (region->lease.is_fenced()) return "the region is fenced";
    if (a_.rescues()) return "a rescue serves nothing but recovery";
    return {};
}

// One region's trouble is not the others': each has a reason of its own.
std::string Leases::renew(const LeaseRequest& wanted, std::optional<uint64_t> end) {
    memory::Region* region = a_.regions->find(wanted.name);
    const std::string refusal = refusal_of(wanted, region);
    if (!refusal.empty()) return refusal;
    if (!end) return "base_ms is no time of this lagand, or the lease is over already";
    try {
        a_.regions->make_managed(*region);
    } catch (const std::exception& error) {
        return fmt::format("that it is managed cannot be written down: {}", error.what());
    }
    return region->lease.renew(*end) ? "" : "the region is fenced";
}

HeartbeatReply Leases::heartbeat(const HeartbeatRequest& request) {
    const uint64_t now = rte_rdtsc();
    HeartbeatReply reply{.instance = clock_.instance(), .now_ms = clock_.now_ms(now), .heartbeat = ++beats_};
    if (!request.base_ms) return reply;
    const auto end = request.instance == clock_.instance()
                         ? clock_.end_tsc(now, *request.base_ms, request.ttl_ms)
                         : std::optional<uint64_t>();
    for (const LeaseRequest& wanted : request.regions) {
        std::string refusal = renew(wanted, end);
        if (!refusal.empty()) reply.refused.push_back({wanted.name, std::move(refusal)});
    }
    return reply;
}

void Leases::fence(memory::Region& region, uint64_t epoch) {
    if (epoch <= region.epoch)
        throw ServiceError(ServiceError::Kind::exists,
                           fmt::format("region {} has epoch {}: only a home of a higher one may have it stop",
                                       region.name, region.epoch));
    a_.regions->fence(region, epoch);
    close_fenced();
}

const char* Leases::state_of(const memory::Region& region) {
    if (region.lease.is_fenced()) return "fenced";
    if (!region.lease.is_managed()) return "unmanaged";
    return region.lease.is_over(rte_rdtsc()) ? "expired" : "valid";
}

void Leases::tick() {
    if (Clock::now() < next_) return;
    next_ = Clock::now() + kTickEvery;
    a_.regions->beat();
    check_clock();
    close_fenced();
}

void Leases::check_clock() {
    const uint64_t before = rte_rdtsc();
    const uint64_t boottime = boottime_ms();
    if (rte_rdtsc() - before > rte_get_tsc_hz() / 1000) return;  // interrupted between the two: the next time
    if (!clock_.went_wrong(before, boottime)) return;
    for (memory::Region* region : a_.regions->list())
        if (region->managed) region->lease.end();
    a_.events->add(
        recovery::Severity::alarm, "clock_wrong", "",
        "the processor's clock went wrong (was the machine suspended?): all leases are over until they "
        "are renewed");
}

void Leases::close_fenced() {
    if (a_.rescues()) return;
    std::set<uint32_t> fenced;
    for (const memory::Region* region : a_.regions->list()) {
        if (!region->lease.is_fenced()) continue;
        fenced.insert(region->id);
        if (told_.insert(region->id).second)
            a_.events->add(
                recovery::Severity::warning, "region_fenced", region->name,
                fmt::format("a home of epoch {} has taken it over: it is kept for recovery, and serves "
                            "nobody any more",
                            region->dirty->fence_epoch()));
    }
    if (fenced.empty()) return;
    // Each time: a connection may have been admitted just before the fence.
    std::vector<uint32_t> qpns;
    a_.qps->for_each([&](const Qp& qp) {
        if (qp.heeds_lease && fenced.contains(qp.region_id)) qpns.push_back(qp.qpn);
    });
    for (const uint32_t qpn : qpns)
        a_.control_plane->connections().close(qpn);
}

}  // namespace lagan::appliance
