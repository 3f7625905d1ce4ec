// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/statistics.h"

#include <rte_ethdev.h>
#include <rte_mempool.h>

#include <atomic>

namespace lagan::appliance {

using nlohmann::json;

namespace {

// The lcore goes on counting meanwhile.
uint64_t read_counter(uint64_t& counter) {
    return std::atomic_ref(counter).load(std::memory_order_relaxed);
}

json counters_of(Counters& counters) {
    json values;
    unsigned count = 0;
    const CounterInfo* const table = counter_table(count);
    for (unsigned i = 0; i < count; ++i)
        values[table[i].name] = read_counter(counters.*table[i].value);
    return values;
}

json drops_of(Counters& counters) {
    json drops;
    for (unsigned i = 1; i < kDropReasonCount; ++i) {
        drops[drop_reason_name(static_cast<DropReason>(i))] = read_counter(counters.drops[i]);
    }
    return drops;
}

json refusals_of(Counters& counters) {
    json refusals;
    for (unsigned i = 1; i < kRefusalCount; ++i) {
        refusals[refusal_name(static_cast<Refusal>(i))] = read_counter(counters.refusals[i]);
    }
    return refusals;
}

json pools_of(Engine& engine) {
    const auto pool = [](const rte_mempool* mempool) {
        return json{{"size", mempool->size}, {"free", rte_mempool_avail_count(mempool)}};
    };
    return {{"rx", pool(engine.rx_pool())},
            {"headers", pool(engine.headers.pool())},
            {"segments", pool(engine.segments.pool())},
            {"tails", pool(engine.tails.pool())},
            {"packets", pool(engine.packets.pool())}};
}

// Adds every number of `more` to the one of the same name in `total`.
void add(json& total, const json& more) {
    for (const auto& [name, value] : more.items())
        total[name] = total.value(name, uint64_t{0}) + value.get<uint64_t>();
}

json port_statistics(const Port& port) {
    rte_eth_stats stats{};
    rte_eth_stats_get(port.id(), &stats);
    return {{"name", port.options().name},  {"link_up", port.link_up()},  {"rx_packets", stats.ipackets},
            {"tx_packets", stats.opackets}, {"rx_bytes", stats.ibytes},   {"tx_bytes", stats.obytes},
            {"rx_missed", stats.imissed},   {"rx_errors", stats.ierrors}, {"tx_errors", stats.oerrors},
            {"rx_no_mbuf", stats.rx_nombuf}};
}

template <typename NamedCounters>
json named(const NamedCounters& counters) {
    json values;
    counters.for_each([&values](const char* name, const char*, uint64_t value) { values[name] = value; });
    return values;
}

}  // namespace

json collect_statistics(Appliance& a) {
    json lcores = json::array();
    json total{{"counters", json::object()}, {"drops", json::object()}, {"refusals", json::object()}};
    for (size_t i = 0; i < a.engines.size(); ++i) {
        Engine& engine = *a.engines[i];
        json one{{"counters", counters_of(engine.counters)},
                 {"drops", drops_of(engine.counters)},
                 {"refusals", refusals_of(engine.counters)}};
        for (const char* group : {"counters", "drops", "refusals"})
            add(total[group], one[group]);
        one["lcore"] = a.plan.pollers[i].lcore;
        one["cpu"] = a.plan.pollers[i].cpu.number;
        one["mbufs"] = pools_of(engine);
        lcores.push_back(std::move(one));
    }
    json ports = json::array();
    for (const auto& port : a.ports)
        ports.push_back(port_statistics(*port));
    const cm::ControlPlane& control = *a.control_plane;
    return {{"total", std::move(total)},
            {"lcores", std::move(lcores)},
            {"ports", std::move(ports)},
            {"frames",
             {{"total", a.frames->capacity()},
              {"free", a.frames->free_count()},
              {"used", a.frames->capacity() - a.frames->free_count()},
              {"unclaimed", a.regions->budget().unclaimed()}}},
            {"queue_pairs", {{"in_use", a.qps->size()}, {"capacity", a.qps->capacity()}}},
            {"connections",
             {{"count", control.connections().size()},
              {"counters", named(control.connections().counters())},
              {"grants_refused", a.admission->counters()},
              {"closed_failed", a.failed_closed},
              {"closed_vanished", a.vanished_closed}}},
            {"control", {{"counters", named(control.net_counters())}, {"unhandled", control.unhandled()}}}};
}

}  // namespace lagan::appliance
