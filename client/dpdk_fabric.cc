// SPDX-License-Identifier: BSD-3-Clause
#include "client/dpdk_fabric.h"

#include <fmt/format.h>

#include <cstring>
#include <stdexcept>

#include "client/welcome.h"

namespace lagan::client {

using Clock = std::chrono::steady_clock;

static CompletionStatus to_completion(roce::WorkStatus status) {
    switch (status) {
        case roce::WorkStatus::success:
            return CompletionStatus::success;
        case roce::WorkStatus::remote_access:
            return CompletionStatus::remote_access_error;
        case roce::WorkStatus::invalid_request:
        case roce::WorkStatus::bad_response:
            return CompletionStatus::remote_invalid_request;
        case roce::WorkStatus::remote_operation:
            return CompletionStatus::remote_operational_error;
        case roce::WorkStatus::retry_exceeded:
            return CompletionStatus::retry_exceeded;
        case roce::WorkStatus::rnr_retry_exceeded:
            return CompletionStatus::rnr_retry_exceeded;
        case roce::WorkStatus::flushed:
            return CompletionStatus::flushed;
    }
    return CompletionStatus::flushed;
}

DpdkFabric::DpdkFabric(std::shared_ptr<DpdkHost> host) : host_(std::move(host)) {}

// By way of the other constructor: what connect() throws with the connection up ends it, in the destructor.
DpdkFabric::DpdkFabric(std::shared_ptr<DpdkHost> host, const DpdkConnectOptions& options)
    : DpdkFabric(std::move(host)) {
    connect(options);
}

DpdkFabric::~DpdkFabric() {
    if (let_go_ == nullptr) disconnect();  // else the peer has been asked, and nobody waits for it any more
    for (int i = 0; i < 8; i++)
        host_->poll();  // the engine lets go of the queue pair, whose context is this
    if (qp_ != nullptr) qp_->context = nullptr;
    host_->detach(*this);
}

// Of the connection manager. It may come when nobody waits for it any more.
struct DpdkFabric::Answer {
    bool came = false;
    bool given_up = false;  // nobody waits
    cm::ConnectStatus status{};
    unsigned reason = 0;
    uint32_t qpn = 0;
    uint32_t read_depth = 0;
    std::vector<uint8_t> private_data;

    bool nobody() const {
        return status != cm::ConnectStatus::established && status != cm::ConnectStatus::rejected;
    }
};

static cm::ConnectParams connect_params(const DpdkHost& host, const DpdkConnectOptions& options) {
    cm::ConnectParams params;
    params.path.port_id = host.port_id();
    params.path.remote_ip = net::IpAddress::parse(options.remote_address);
    params.service_port = options.service_port;
    params.private_data = options.grant;
    params.mtu_bytes = cm::largest_path_mtu(host.mtu());
    params.initiator_depth = 64;
    params.ack_timeout =
        15;  // 134 ms; with all retries, an appliance may be still for 3.6 s before it is given up
    return params;
}

// Asks once, and waits until there is an answer or none in time.
void DpdkFabric::ask(const cm::ConnectParams& params, const DpdkConnectOptions& options,
                     const std::shared_ptr<Answer>& answer) {
    const std::string address = options.remote_address;
    host_->control().connect(params, [answer, address, host = host_.get()](const cm::ConnectResult& result) {
        answer->came = true;
        if (result.status == cm::ConnectStatus::established && answer->given_up) {
            host->control().connections().disconnect(result.qpn, [] {});
            return;
        }
        answer->status = result.status;
        answer->reason = static_cast<unsigned>(result.reason);
        answer->qpn = result.qpn;
        answer->read_depth = result.attributes.initiator_depth;
        answer->private_data.assign(result.private_data.begin(), result.private_data.end());
    });
    while (!answer->came) {
        host_->poll();
        if (!options.interrupted || !options.interrupted()) continue;
        answer->given_up = true;
        throw std::runtime_error("no connection to " + address + " yet");
    }
}

void DpdkFabric::connect(const DpdkConnectOptions& options) {
    const cm::ConnectParams params = connect_params(*host_, options);
    // The peer may need a moment to notice that its port has a client: unreachable is asked again until the
    // time is up.
    const auto end = Clock::now() + options.timeout;
    std::shared_ptr<Answer> answer;
    do {
        answer = std::make_shared<Answer>();
        ask(params, options, answer);
    } while (answer->nobody() && Clock::now() < end);
    if (answer->nobody())
        throw std::runtime_error(
            fmt::format("no connection to {}: {}", options.remote_address, cm::to_string(answer->status)));
    if (answer->status == cm::ConnectStatus::rejected) throw_refusal(answer->reason, answer->private_data);
    qpn_ = answer->qpn;
    qp_ = host_->qps().find(qpn_);
    if (qp_ == nullptr) throw std::runtime_error("the connection was closed as soon as it was made");
    qp_->context = this;
    host_->attach(qpn_, *this);
    if (answer->read_depth == 0) throw Refused("the appliance refuses every READ (depth 0)");
    region_ = read_welcome(answer->private_data);
}

bool DpdkFabric::post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                           uint32_t bytes) {
    return qp_ != nullptr && roce::post_read(host_->engine(), *qp_, cookie, rkey, remote_offset,
                                             static_cast<std::byte*>(local), bytes);
}

bool DpdkFabric::post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                            uint32_t bytes) {
    return qp_ != nullptr && roce::post_write(host_->engine(), *qp_, cookie, rkey, remote_offset,
                                              static_cast<const std::byte*>(local), bytes);
}

bool DpdkFabric::post_send(uint64_t cookie, std::span<const std::byte> message) {
    return qp_ != nullptr && roce::post_send(host_->engine(), *qp_, cookie, message.data(),
                                             static_cast<uint32_t>(message.size()));
}

size_t DpdkFabric::poll(std::span<Completion> out) {
    host_->poll();
    const size_t count = std::min(out.size(), completions_.size());
    std::copy_n(completions_.begin(), count, out.begin());
    completions_.erase(completions_.begin(), completions_.begin() + static_cast<ptrdiff_t>(count));
    return count;
}

size_t DpdkFabric::receive(std::span<std::byte> to) {
    if (qp_ == nullptr || qp_->responder.received.empty()) return 0;
    MessageRing& ring = qp_->responder.received;
    const MessageRing::Message& message = ring.at(ring.head++);
    const size_t bytes = std::min<size_t>(message.bytes, to.size());
    std::memcpy(to.data(), message.data, bytes);
    return bytes;
}

void DpdkFabric::completed(uint64_t cookie, roce::WorkStatus status) {
    completions_.push_back({cookie, to_completion(status)});
    if (status != roce::WorkStatus::success && failure_.empty()) failure_ = roce::to_string(status);
}

void DpdkFabric::disconnected(const std::string& why) {
    if (failure_.empty()) failure_ = "the connection has ended: " + why;
    stop_sending();
    qp_ = nullptr;
}

// The connection manager has not heard of it: the peer still has to be told, when the port is back.
void DpdkFabric::port_lost(const std::string& why) {
    if (failure_.empty()) failure_ = why;
    stop_sending();
}

// Nothing is sent from, nor written to, the caller's memory any more. The engine lets go of the queue pair
// only some turns later.
void DpdkFabric::stop_sending() {
    if (qp_ != nullptr) roce::fail_requests(host_->engine(), *qp_, roce::WorkStatus::flushed);
}

bool DpdkFabric::try_disconnect() {
    if (let_go_ == nullptr) {
        if (failure_.empty()) failure_ = "the connection has ended: closed here";
        stop_sending();
        let_go_ = std::make_shared<bool>(qp_ == nullptr);
        if (!*let_go_ && !host_->control().connections().disconnect(qpn_, [gone = let_go_] { *gone = true; }))
            *let_go_ = true;
    }
    host_->poll();
    return *let_go_;
}

void DpdkFabric::disconnect() {
    const auto end = Clock::now() + std::chrono::seconds(2);
    while (!try_disconnect() && !host_->port_lost() && Clock::now() < end) {
    }
}

}  // namespace lagan::client
