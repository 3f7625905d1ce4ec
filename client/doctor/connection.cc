// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <rdma/rdma_cma.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "client/doctor/local_appliance.h"
#include "client/doctor/ping.h"

namespace lagan::client::doctor {

namespace {

constexpr int kStepMs = 10'000;
constexpr int kAddressMs = 2'000;
constexpr unsigned kNoResources = 3, kNoService = 8, kInvalidMtu = 26, kConsumer = 28;

Attempt failure(const char* call, int error) {
    return {.outcome = Outcome::failed, .text = fmt::format("{}: {}", call, std::strerror(error))};
}

// One try, from the address to the end of the connection.
class Connection {
  public:
    Attempt run(const Target& target, std::span<const uint8_t> grant) {
        channel_.reset(rdma_create_event_channel());
        if (channel_ == nullptr) return failure("/dev/infiniband/rdma_cm", errno);
        fcntl(channel_->fd, F_SETFL, fcntl(channel_->fd, F_GETFL) | O_NONBLOCK);
        rdma_cm_id* id = nullptr;
        if (rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP) != 0)
            return failure("rdma_create_id", errno);
        id_.reset(id);
        if (Attempt found = resolve(target); found.outcome != Outcome::established) return found;
        ibv_qp_init_attr attributes{};
        attributes.qp_type = IBV_QPT_RC;
        attributes.cap = {
            .max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = 0};
        if (rdma_create_qp(id, nullptr, &attributes) != 0) return failure("rdma_create_qp", errno);
        Attempt attempt = ask(grant);
        rdma_destroy_qp(id);
        return attempt;
    }

  private:
    // The next event, or nothing within the time.
    using Event = std::unique_ptr<rdma_cm_event, decltype(&rdma_ack_cm_event)>;
    Event next_event(int timeout_ms) {
        pollfd ready{channel_->fd, POLLIN, 0};
        rdma_cm_event* event = nullptr;
        if (poll(&ready, 1, timeout_ms) <= 0 || rdma_get_cm_event(channel_.get(), &event) != 0)
            event = nullptr;
        return {event, rdma_ack_cm_event};
    }

    Attempt resolve(const Target& target) {
        SocketAddress to = to_socket_address(target.address, target.service_port);
        auto* address = reinterpret_cast<sockaddr*>(&to.storage);
        if (rdma_resolve_addr(id_.get(), nullptr, address, kAddressMs) != 0) return unresolved(errno);
        Event event = next_event(kStepMs);
        if (event == nullptr) return {.outcome = Outcome::no_answer};
        if (event->event != RDMA_CM_EVENT_ADDR_RESOLVED) return unresolved(-event->status);
        event.reset();
        if (rdma_resolve_route(id_.get(), kStepMs) != 0) return unresolved(errno);
        event = next_event(kStepMs);
        if (event == nullptr) return {.outcome = Outcome::no_answer};
        if (event->event != RDMA_CM_EVENT_ROUTE_RESOLVED) return unresolved(-event->status);
        return {.outcome = Outcome::established};
    }

    static Attempt unresolved(int error) {
        if (error == ENODEV) return {.outcome = Outcome::no_device};
        if (error == ETIMEDOUT || error == EHOSTUNREACH) return {.outcome = Outcome::no_answer};
        return failure("no route for RDMA", error);
    }

    Attempt ask(std::span<const uint8_t> grant) {
        rdma_conn_param parameters{};
        parameters.private_data = grant.data();
        parameters.private_data_len = static_cast<uint8_t>(grant.size());
        parameters.initiator_depth = 1;
        parameters.retry_count = 7;
        if (rdma_connect(id_.get(), &parameters) != 0) return failure("rdma_connect", errno);
        const Event event = next_event(kStepMs);
        if (event == nullptr || event->event == RDMA_CM_EVENT_UNREACHABLE)
            return {.outcome = Outcome::no_answer};
        if (event->event == RDMA_CM_EVENT_ESTABLISHED) {
            rdma_disconnect(id_.get());
            next_event(kStepMs);
            return {.outcome = Outcome::established};
        }
        if (event->event != RDMA_CM_EVENT_REJECTED)
            return {.outcome = Outcome::failed, .text = rdma_event_str(event->event)};
        const auto reason = static_cast<unsigned>(event->status);
        std::string text;
        if (const auto* data = static_cast<const char*>(event->param.conn.private_data);
            reason == kConsumer && data)
            text.assign(data, strnlen(data, event->param.conn.private_data_len));
        return {.outcome = Outcome::rejected, .reason = reason, .text = text};
    }

    std::unique_ptr<rdma_event_channel, decltype(&rdma_destroy_event_channel)> channel_{
        nullptr, rdma_destroy_event_channel};
    std::unique_ptr<rdma_cm_id, decltype(&rdma_destroy_id)> id_{nullptr, rdma_destroy_id};
};

void check_rejection(const Target& target, const Attempt& attempt, const std::filesystem::path& grant_file,
                     Findings& findings) {
    const char* const check = "connection";
    const std::string address = target.address.to_string();
    switch (attempt.reason) {
        case kConsumer:
            if (grant_file.empty()) {
                findings.ok(check, "the appliance answers, and asks for a grant (--grant FILE)");
                return;
            }
            findings.problem(check, "the appliance refuses: " + attempt.text, mend_grant(grant_file));
            return;
        case kNoService:
            findings.problem(
                check, fmt::format("{} answers, but nobody at port {} there", address, target.service_port),
                fmt::format("lagan doctor --address {}:PORT   # rdma.service_port of its lagand.toml",
                            address));
            return;
        case kInvalidMtu:
            findings.problem(
                check, "this machine's path MTU is larger than the appliance's port takes",
                "on the appliance: a larger port.mtu, and: lagan doctor --config /etc/lagan/lagand.toml\n"
                "or here: sudo ip link set dev INTERFACE mtu 1500");
            return;
        case kNoResources:
            findings.problem(check, "the appliance has no room for another connection",
                             "on the appliance: a larger rdma.max_qps, or fewer clients: curl --unix-socket "
                             "/run/lagan/lagand.sock http://localhost/v1/regions");
            return;
        default:
            findings.problem(check, fmt::format("the appliance refuses, with reason {}", attempt.reason),
                             "docs/protocol.md, Rejections, says what that means");
            return;
    }
}

}  // namespace

Attempt try_connection(const Target& target, std::span<const uint8_t> grant) {
    return Connection().run(target, grant);
}

void check_connection(const Target& target, const Attempt& attempt, const std::filesystem::path& grant_file,
                      Findings& findings) {
    const char* const check = "connection";
    const std::string address = target.address.to_string();
    switch (attempt.outcome) {
        case Outcome::established:
            findings.ok(check, "the appliance takes it, with this grant");
            return;
        case Outcome::rejected:
            check_rejection(target, attempt, grant_file, findings);
            return;
        case Outcome::no_device:
            findings.problem(
                check, "no RDMA device leads to " + address,
                fmt::format("ip route get {}; rdma link   # the interface of the first needs a device",
                            address));
            return;
        case Outcome::no_answer:
            findings.problem(check, address + " does not answer to RDMA (UDP port 4791)",
                             "sudo nft list ruleset | grep 4791   # on every firewall between\n"
                             "on the appliance: lagan doctor --config /etc/lagan/lagand.toml");
            return;
        case Outcome::failed:
            findings.problem(check, "cannot be tried: " + attempt.text,
                             "rdma link; rdma resource; ulimit -l   # as root: without limits");
            return;
    }
}

}  // namespace lagan::client::doctor
