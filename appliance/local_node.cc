// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/local_node.h"

#include <fmt/format.h>
#include <rte_ether.h>

#include "appliance/log.h"
#include "appliance/size_text.h"
#include "appliance/statistics.h"

namespace lagan::appliance {

namespace {

std::string mac_text(const rte_ether_addr& mac) {
    char text[RTE_ETHER_ADDR_FMT_SIZE];
    rte_ether_format_addr(text, sizeof text, &mac);
    return text;
}

PortStatus status_of(const Port& port) {
    PortStatus status{.name = port.options().name,
                      .kind = to_string(port.options().kind),
                      .path = port.path(),
                      .mac = mac_text(port.config().mac),
                      .mtu_bytes = port.config().mtu,
                      .link_up = port.link_up()};
    for (const net::IpPrefix& prefix : port.config().addresses) {
        status.addresses.push_back(fmt::format("{}/{}", prefix.address.to_string(), prefix.length));
    }
    if (port.options().peer_address) status.peer_address = port.options().peer_address->to_string();
    return status;
}

}  // namespace

ServiceError::Kind kind_of(memory::RegionError::Kind kind) {
    switch (kind) {
        case memory::RegionError::Kind::exists:
            return ServiceError::Kind::exists;
        case memory::RegionError::Kind::not_found:
            return ServiceError::Kind::not_found;
        case memory::RegionError::Kind::no_room:
            return ServiceError::Kind::no_room;
        case memory::RegionError::Kind::invalid:
            return ServiceError::Kind::invalid;
    }
    return ServiceError::Kind::invalid;
}

NodeStatus LocalNode::node() {
    const auto uptime = std::chrono::steady_clock::now() - a_.started;
    NodeStatus status{
        .name = a_.options.node.name,
        .version = LAGAN_VERSION,
        .uptime_s = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(uptime).count()),
        .memory_bytes = uint64_t{a_.frames->capacity()} * memory::kPageBytes,
        .memory_free_bytes = uint64_t{a_.frames->free_count()} * memory::kPageBytes,
        .memory_unclaimed_bytes = a_.regions->budget().unclaimed() * memory::kPageBytes,
        .arena = a_.arena->directory().string(),
        .huge_pages = a_.arena->huge_pages(),
        .rdma_service_port = a_.options.rdma.service_port,
        .lcores = describe(a_.plan),
        .rescue = a_.rescues()};
    for (const memory::LeftOutRegion& region : a_.left_out)
        status.left_out.push_back({region.id, region.reason});
    for (const auto& port : a_.ports)
        status.ports.push_back(appliance::status_of(*port));
    return status;
}

void LocalNode::refuse_in_rescue(const char* what) const {
    if (!a_.rescues()) return;
    throw ServiceError(
        ServiceError::Kind::forbidden,
        fmt::format("this lagand rescues the regions in {}: {}; stop it and start lagand without "
                    "--rescue to serve them again",
                    a_.arena->directory().string(), what));
}

memory::Region& LocalNode::find(const std::string& name) {
    memory::Region* region = a_.regions->find(name);
    if (region == nullptr)
        throw ServiceError(ServiceError::Kind::not_found, fmt::format("there is no region \"{}\"", name));
    return *region;
}

std::vector<uint32_t> LocalNode::connections_of(const memory::Region& region) {
    std::vector<uint32_t> qpns;
    a_.qps->for_each([&](const Qp& qp) {
        if (qp.region_id == region.id) qpns.push_back(qp.qpn);
    });
    return qpns;
}

RegionStatus LocalNode::status_of(const memory::Region& region) {
    return {.name = region.name,
            .id = region.id,
            .size_bytes = region.size_bytes,
            .reserve_bytes = region.reserve_pages * memory::kPageBytes,
            .page_bytes = memory::kPageBytes,
            .present_pages = region.present.load(std::memory_order_relaxed),
            .dirty_pages = region.dirty_pages(),
            .damaged_pages = region.damaged.load(std::memory_order_relaxed),
            .draining_pages = region.dirty->drain().count(),
            .cut_number = region.dirty->cut_number(),
            .durable_cut = region.dirty->durable_cut(),
            .uid = region.uid,
            .temporary = region.temporary,
            .restoring = region.restoring,
            .rebuilding = region.rebuilding,
            .pending_pages = region.pending.load(std::memory_order_relaxed),
            .managed = region.managed,
            .lease = Leases::state_of(region),
            .fence_epoch = region.dirty->fence_epoch(),
            .epoch = region.epoch,
            .data_rkey = region.data_rkey,
            .dirty_rkey = region.dirty_rkey,
            .connections = static_cast<uint32_t>(connections_of(region).size())};
}

std::vector<RegionStatus> LocalNode::regions() {
    std::vector<RegionStatus> list;
    for (const memory::Region* region : a_.regions->list())
        list.push_back(status_of(*region));
    return list;
}

RegionStatus LocalNode::region(const std::string& name) {
    return status_of(find(name));
}

RegionStatus LocalNode::create_region(const RegionSpec& spec) {
    refuse_in_rescue("none can be created");
    try {
        const memory::Region& region = a_.create_region({.name = spec.name,
                                                         .size_bytes = spec.size_bytes,
                                                         .reserve_bytes = spec.reserve_bytes,
                                                         .overcommit = spec.overcommit,
                                                         .temporary = spec.temporary,
                                                         .managed = spec.managed});
        spdlog::info("region {}: created, {}, {} reserved", region.name, format_size(region.size_bytes),
                     format_size(region.reserve_pages * memory::kPageBytes));
        if (spec.temporary) a_.temporary_regions[region.id] = 0;
        return status_of(region);
    } catch (const memory::RegionError& error) {
        throw ServiceError(kind_of(error.kind), error.what());
    }
}

void LocalNode::delete_region(const std::string& name, std::optional<uint64_t> epoch) {
    refuse_in_rescue("none can be deleted");
    memory::Region& region = find(name);
    if (region.managed && !epoch)
        throw ServiceError(
            ServiceError::Kind::exists,
            fmt::format("region {} is a manager's, which would make it anew: delete it there, or, "
                        "if no manager knows it any more, here with ?epoch={} (lagan region delete --force)",
                        name, region.epoch));
    if (epoch.value_or(0) != 0 && *epoch != region.epoch)
        throw ServiceError(ServiceError::Kind::exists,
                           fmt::format("region {} has epoch {} here, not {}", name, region.epoch, *epoch));
    if (a_.rebuilds) a_.rebuilds->let_go(name);
    if (a_.recovery) a_.recovery->let_go(region);
    const auto connections = connections_of(region);
    for (const uint32_t qpn : connections)
        a_.control_plane->connections().close(qpn);
    a_.regions->destroy(region);
    spdlog::info("region {}: deleted, {} connection{} closed", name, connections.size(),
                 connections.size() == 1 ? "" : "s");
}

HeartbeatReply LocalNode::heartbeat(const HeartbeatRequest& request) {
    HeartbeatReply reply = a_.leases->heartbeat(request);
    reply.node = a_.options.node.name;
    reply.rescue = a_.rescues();
    reply.regions = regions();
    reply.memory_bytes = uint64_t{a_.frames->capacity()} * memory::kPageBytes;
    reply.memory_free_bytes = uint64_t{a_.frames->free_count()} * memory::kPageBytes;
    reply.memory_unclaimed_bytes = a_.regions->budget().unclaimed() * memory::kPageBytes;
    return reply;
}

RegionStatus LocalNode::fence_region(const std::string& name, uint64_t epoch) {
    refuse_in_rescue("none of them serves anybody");
    memory::Region& region = find(name);
    a_.leases->fence(region, epoch);
    return status_of(region);
}

IssuedGrant LocalNode::make_grant(const std::string& name, Role role, uint64_t ttl_s) {
    if (role != Role::recover) refuse_in_rescue("only grants to recover can be had");
    const memory::Region& region = find(name);
    if (region.restoring)
        throw ServiceError(ServiceError::Kind::exists, fmt::format("region {} is being restored", name));
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const uint64_t expiry =
        static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()) + ttl_s;
    spdlog::info("region {}: grant to {} for {} s", name, role_name(role), ttl_s);
    return {grant_to_hex(a_.key->sign({.role = role, .region_id = region.id, .expiry_unix_s = expiry})),
            expiry};
}

Recovery* LocalNode::recovery() {
    return a_.recovery.get();
}

Rebuilds* LocalNode::rebuilds() {
    return a_.rebuilds.get();
}

std::vector<recovery::Event> LocalNode::events_after(uint64_t number) {
    return a_.events->after(number);
}

nlohmann::json LocalNode::statistics() {
    return collect_statistics(a_);
}

}  // namespace lagan::appliance
