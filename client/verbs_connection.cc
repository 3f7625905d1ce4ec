// SPDX-License-Identifier: BSD-3-Clause
#include "client/verbs_connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

#include "client/verbs_memory.h"
#include "client/welcome.h"

namespace lagan::client {

using std::chrono::milliseconds;

namespace {

constexpr const char* kServicePort = "7471";
// 4.096 us x 2^17 = 0.54 s until a request is sent again; the kernel's own choice of 2.1 s is for larger
// fabrics. Devices may take up to four times as long (InfiniBand specification, 9.7.6.1.3).
constexpr uint8_t kAckTimeout = 17;
// With the first try seven: an appliance that does not answer for 3.8 s is given up. Not 7, which rxe takes
// for "for ever".
constexpr uint8_t kRetries = 6;
// 7: for ever. Who says "not ready" is alive.
constexpr uint8_t kReceiverNotReadyRetries = 7;
constexpr int kAddressTryMs = 300;
constexpr milliseconds kLookAround{50};
constexpr int kInitiatorDepth =
    64;  // READs outstanding that we ask for; the appliance says how many it grants
constexpr unsigned kConsumerReject = 28;

[[noreturn]] void fail(const std::string& what, int error = errno) {
    throw std::runtime_error(fmt::format("{}: {}", what, strerror(error)));
}

// Splits "host:port" and "[host]:port"; an address with several colons and no brackets is IPv6 without port.
std::pair<std::string, std::string> split_port(const std::string& address) {
    const size_t colon = address.rfind(':');
    if (address.starts_with('[')) {
        const size_t bracket = address.find(']');
        if (bracket == std::string::npos) throw std::runtime_error(address + ": a bracket is not closed");
        return {address.substr(1, bracket - 1),
                colon == bracket + 1 ? address.substr(colon + 1) : kServicePort};
    }
    if (colon == std::string::npos || address.find(':') != colon) return {address, kServicePort};
    return {address.substr(0, colon), address.substr(colon + 1)};
}

struct AddressListDeleter {
    void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, AddressListDeleter>;

AddressList find_address(const std::string& address) {
    const auto [host, port] = split_port(address);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
    if (error != 0) throw std::runtime_error(fmt::format("{}: {}", address, gai_strerror(error)));
    return AddressList(list);
}

void check_devices() {
    int count = 0;
    ibv_device** list = ibv_get_device_list(&count);
    if (list != nullptr) ibv_free_device_list(list);
    if (count == 0)
        throw std::runtime_error(
            "no RDMA device on this machine: an RNIC needs its kernel driver and rdma-core; without an RNIC, "
            "`modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0` makes one of a network "
            "interface");
}

[[noreturn]] void no_way(const std::string& address, int error) {
    if (error == ENODEV)
        throw NoWay(fmt::format(
            "no RDMA device leads to {}: `ip route get` says which interface does, and `rdma link` "
            "which interfaces have a device",
            address));
    if (error == ETIMEDOUT || error == EHOSTUNREACH)
        throw NoWay(fmt::format("{} does not answer: is the appliance up, and in this network?", address));
    throw NoWay(fmt::format("no route to {}: {}", address, strerror(error)));
}

}  // namespace

VerbsConnection::VerbsConnection(const VerbsConnectOptions& options, uint32_t send_depth,
                                 uint32_t receive_depth)
    : address_(options.address), timeout_(options.timeout), interrupted_(options.interrupted) {
    check_devices();
    // A program that forks must not lose what the device has registered. The kernel takes care of it since
    // 5.12, and this call does nothing then.
    ibv_fork_init();
    channel_.reset(rdma_create_event_channel());
    if (channel_ == nullptr)
        fail("no connection manager (/dev/infiniband/rdma_cm): `modprobe rdma_ucm`, and access to it");
    fcntl(channel_->fd, F_SETFL, fcntl(channel_->fd, F_GETFL) | O_NONBLOCK);
    rdma_cm_id* id = nullptr;
    if (rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP) != 0) fail("rdma_create_id");
    id_.reset(id);
    resolve(options.address);
    make_queue_pair(send_depth, receive_depth);
}

void VerbsConnection::resolve(const std::string& address) {
    const AddressList found = find_address(address);
    // In short tries: the kernel may miss a neighbour's answer that comes too soon, and looks again only when
    // the time that it was given is up.
    const auto end = std::chrono::steady_clock::now() + timeout_;
    Event event;
    do {
        if (rdma_resolve_addr(id_.get(), nullptr, found->ai_addr, kAddressTryMs) != 0) no_way(address, errno);
        event = expect_event("its address");
    } while ((event.status == -ETIMEDOUT || event.status == -EHOSTUNREACH) &&
             std::chrono::steady_clock::now() < end);
    if (event.type != RDMA_CM_EVENT_ADDR_RESOLVED) no_way(address, -event.status);
    uint8_t ack_timeout = kAckTimeout;
    if (rdma_set_option(id_.get(), RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack_timeout,
                        sizeof ack_timeout) != 0 &&
        errno != ENOSYS && errno != EINVAL)  // kernels before 5.3 cannot: theirs then
        fail("setting the ACK timeout");
    if (rdma_resolve_route(id_.get(), static_cast<int>(timeout_.count())) != 0) no_way(address, errno);
    event = expect_event("a route");
    if (event.type != RDMA_CM_EVENT_ROUTE_RESOLVED) no_way(address, -event.status);
}

void VerbsConnection::make_queue_pair(uint32_t send_depth, uint32_t receive_depth) {
    const std::string device = ibv_get_device_name(id_->verbs->device);
    domain_.reset(ibv_alloc_pd(id_->verbs));
    if (domain_ == nullptr) fail(device + ": ibv_alloc_pd");
    const auto entries = static_cast<int>(send_depth + receive_depth);
    completions_.reset(ibv_create_cq(id_->verbs, entries, nullptr, nullptr, 0));
    if (completions_ == nullptr) throw std::runtime_error(no_memory(device + ": a completion queue", errno));
    ibv_qp_init_attr attributes{};
    attributes.send_cq = attributes.recv_cq = completions_.get();
    attributes.qp_type = IBV_QPT_RC;
    attributes.sq_sig_all = 1;
    attributes.cap = {.max_send_wr = send_depth,
                      .max_recv_wr = receive_depth,
                      .max_send_sge = 1,
                      .max_recv_sge = 1,
                      .max_inline_data = 0};
    if (rdma_create_qp(id_.get(), domain_.get(), &attributes) != 0)
        throw std::runtime_error(no_memory(device + ": a queue pair", errno));
    queue_pair_.reset(id_.get());
}

std::vector<uint8_t> VerbsConnection::connect(std::span<const uint8_t> grant) {
    ibv_device_attr device{};
    ibv_query_device(id_->verbs, &device);
    rdma_conn_param parameters{};
    parameters.private_data = grant.data();
    parameters.private_data_len = static_cast<uint8_t>(grant.size());
    parameters.responder_resources = 0;  // nobody reads from us
    parameters.initiator_depth = static_cast<uint8_t>(std::min(device.max_qp_init_rd_atom, kInitiatorDepth));
    parameters.retry_count = kRetries;
    parameters.rnr_retry_count = kReceiverNotReadyRetries;
    if (rdma_connect(id_.get(), &parameters) != 0) fail("asking " + address_ + " for a connection");
    Event event = expect_event("a connection");
    switch (event.type) {
        case RDMA_CM_EVENT_ESTABLISHED:
            return std::move(event.private_data);
        case RDMA_CM_EVENT_REJECTED: {
            const auto reason = static_cast<unsigned>(event.status);
            throw_refusal(reason, reason == kConsumerReject ? std::span<const uint8_t>(event.private_data)
                                                            : std::span<const uint8_t>());
        }
        case RDMA_CM_EVENT_UNREACHABLE:
            no_way(address_, ETIMEDOUT);
        default:
            throw std::runtime_error(
                fmt::format("no connection to {}: {} ({})", address_, rdma_event_str(event.type),
                            event.status < 0 ? strerror(-event.status) : std::to_string(event.status)));
    }
}

std::string VerbsConnection::look_for_end() {
    while (const auto event = next_event(milliseconds(0))) {
        switch (event->type) {
            case RDMA_CM_EVENT_DISCONNECTED:
                rdma_disconnect(id_.get());  // answers, and flushes the queue pair
                ended_ = true;
                return "the connection has ended: closed by the appliance";
            case RDMA_CM_EVENT_DEVICE_REMOVAL:
                destroy_queue_pair();
                ended_ = true;
                return "the RDMA device has been removed";
            default:
                break;
        }
    }
    return {};
}

bool VerbsConnection::try_disconnect() {
    if (!std::exchange(asked_to_end_, true) && !ended_ && rdma_disconnect(id_.get()) != 0) ended_ = true;
    while (!ended_) {
        const auto event = next_event(milliseconds(0));
        if (!event) return false;
        ended_ = event->type == RDMA_CM_EVENT_DISCONNECTED || event->type == RDMA_CM_EVENT_DEVICE_REMOVAL;
    }
    return true;
}

void VerbsConnection::disconnect() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (!try_disconnect() && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(milliseconds(1));
}

std::optional<VerbsConnection::Event> VerbsConnection::next_event(milliseconds timeout) {
    pollfd descriptor = {channel_->fd, POLLIN, 0};
    const auto end = std::chrono::steady_clock::now() + timeout;
    int ready;
    do {
        const auto left = std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now());
        ready = ::poll(&descriptor, 1, static_cast<int>(std::max<milliseconds::rep>(left.count(), 0)));
    } while (ready < 0 && errno == EINTR);
    rdma_cm_event* event = nullptr;
    if (ready <= 0 || rdma_get_cm_event(channel_.get(), &event) != 0) return std::nullopt;
    Event copy = {event->event, event->status, {}};
    if (const auto* data = static_cast<const uint8_t*>(event->param.conn.private_data))
        copy.private_data.assign(data, data + event->param.conn.private_data_len);
    rdma_ack_cm_event(event);
    return copy;
}

VerbsConnection::Event VerbsConnection::expect_event(const std::string& waiting_for) {
    const auto end = std::chrono::steady_clock::now() + timeout_;
    auto event = next_event(kLookAround);
    while (!event && std::chrono::steady_clock::now() < end) {
        if (interrupted_ && interrupted_()) throw NoWay("no connection to " + address_ + " yet");
        event = next_event(kLookAround);
    }
    if (!event)
        throw NoWay(fmt::format("{}: no answer within {} s while waiting for {}", address_,
                                timeout_.count() / 1000, waiting_for));
    return std::move(*event);
}

}  // namespace lagan::client
