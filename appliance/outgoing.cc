// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/outgoing.h"

#include <fmt/format.h>

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "appliance/appliance.h"
#include "appliance/log.h"

namespace lagan::appliance {

using recovery::SourceError;
using Why = SourceError::Why;
using namespace std::chrono_literals;

namespace {

constexpr auto kLookForCancel = 10ms;
constexpr uint16_t kSmallMtu = 1024;  // fits every Ethernet

// An attempt to connect, and the connection that it became.
struct Attempt {
    std::mutex mutex;
    std::condition_variable answered;
    // under mutex
    bool came = false;
    bool given_up = false;  // nobody waits: a connection is to be closed at once
    cm::ConnectStatus status{};
    cm::RejectReason reason{};
    std::vector<uint8_t> private_data;
    uint32_t qpn = 0;

    Puller puller;  // the engine's, too, until over()
};

std::string address_text(const recovery::SourceAddress& to) {
    return fmt::format("{} port {}", to.address, to.port);
}

// Control thread.
void on_answer(Appliance& a, const std::shared_ptr<Attempt>& attempt, const cm::ConnectResult& result) {
    const std::scoped_lock lock(attempt->mutex);
    attempt->came = true;
    attempt->status = result.status;
    attempt->reason = result.reason;
    attempt->private_data.assign(result.private_data.begin(), result.private_data.end());
    attempt->answered.notify_all();
    if (result.status != cm::ConnectStatus::established) return;
    attempt->qpn = result.qpn;
    Qp* qp = a.qps->find(result.qpn);
    if (attempt->given_up || qp == nullptr || !a.engines[qp->engine]->attach_puller(*qp, attempt->puller)) {
        attempt->status = cm::ConnectStatus::no_resources;
        a.control_plane->connections().close(result.qpn);
    }
}

const Port& port_to(const Appliance& a, const net::IpAddress& remote) {
    for (const auto& port : a.ports)
        if (port->config().on_link(remote)) return *port;
    throw SourceError(
        Why::not_asked,
        fmt::format("no port of this appliance has an address in the network of {}", remote.to_string()));
}

// Control thread.
void ask(Appliance& a, const recovery::SourceAddress& to, bool small_mtu,
         const std::shared_ptr<Attempt>& attempt) {
    cm::ConnectParams params;
    params.path.remote_ip = net::IpAddress::parse(to.address);
    const Port& port = port_to(a, params.path.remote_ip);
    params.path.port_id = port.id();
    params.service_port = to.port;
    params.private_data = to.grant;
    params.mtu_bytes = cm::largest_path_mtu(port.config().mtu);
    if (small_mtu) params.mtu_bytes = std::min(params.mtu_bytes, kSmallMtu);
    params.responder_resources = 1;  // it gets nothing to read here
    params.initiator_depth = kMaxReadDepth;
    params.engine = a.binding->choose_engine(port.id());
    a.control_plane->connect(
        params, [&a, attempt](const cm::ConnectResult& result) { on_answer(a, attempt, result); });
}

class OutgoingLink final : public recovery::SourceLink {
  public:
    OutgoingLink(Appliance& appliance, std::shared_ptr<Attempt> attempt)
        : a_(appliance), attempt_(std::move(attempt)) {}
    ~OutgoingLink() override {
        attempt_->puller.stop();
        while (!attempt_->puller.over())  // a turn of the poll loop's
            std::this_thread::sleep_for(10us);
        try {
            a_.queue->run([this] { a_.control_plane->connections().close(attempt_->qpn); });
        } catch (const QueueClosed&) {  // so are all connections, in a moment
        }
    }
    Puller& puller() override { return attempt_->puller; }
    std::span<const uint8_t> welcome() const override { return attempt_->private_data; }

  private:
    Appliance& a_;
    const std::shared_ptr<Attempt> attempt_;
};

std::string refusal_text(const Attempt& attempt) {
    const auto* text = reinterpret_cast<const char*>(attempt.private_data.data());
    const std::string why(text, strnlen(text, attempt.private_data.size()));
    if (!why.empty()) return why;
    return fmt::format("reason {}", static_cast<unsigned>(attempt.reason));
}

// Waits for the answer.
std::shared_ptr<Attempt> attempt_once(Appliance& a, const recovery::SourceAddress& to, bool small_mtu,
                                      const recovery::Cancelled& cancelled) {
    auto attempt = std::make_shared<Attempt>();
    a.queue->run([&] { ask(a, to, small_mtu, attempt); });
    std::unique_lock lock(attempt->mutex);
    while (!attempt->answered.wait_for(lock, kLookForCancel, [&] { return attempt->came; }))
        if (cancelled && cancelled()) {
            attempt->given_up = true;
            throw SourceError(Why::cancelled, "cancelled");
        }
    return attempt;
}

std::unique_ptr<recovery::SourceLink> connect(Appliance& a, const recovery::SourceAddress& to,
                                              const recovery::Cancelled& cancelled) {
    std::shared_ptr<Attempt> attempt = attempt_once(a, to, false, cancelled);
    if (attempt->status == cm::ConnectStatus::rejected && attempt->reason == cm::RejectReason::invalid_mtu)
        attempt = attempt_once(a, to, true, cancelled);
    switch (attempt->status) {
        case cm::ConnectStatus::established:
            return std::make_unique<OutgoingLink>(a, std::move(attempt));
        case cm::ConnectStatus::rejected:
            throw SourceError(Why::refused, fmt::format("{} refuses the connection: {}", address_text(to),
                                                        refusal_text(*attempt)));
        case cm::ConnectStatus::no_resources:
            throw SourceError(Why::not_asked, "this appliance has no room for another connection");
        default:
            throw SourceError(Why::lost, fmt::format("no connection to {}: {}", address_text(to),
                                                     cm::to_string(attempt->status)));
    }
}

}  // namespace

recovery::Connect outgoing_connections(Appliance& appliance) {
    return [&appliance](const recovery::SourceAddress& to, const recovery::Cancelled& cancelled) {
        try {
            return connect(appliance, to, cancelled);
        } catch (const QueueClosed&) {
            throw SourceError(Why::cancelled, "the appliance is shutting down");
        } catch (const std::invalid_argument& error) {  // an address that is none, a grant that is too long
            throw SourceError(Why::not_asked, error.what());
        }
    };
}

}  // namespace lagan::appliance
