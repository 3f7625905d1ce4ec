// SPDX-License-Identifier: BSD-3-Clause
#include "tests/interop/peers/connection.h"

#include <stdexcept>

namespace lagan::interop {

std::optional<std::vector<std::byte>> Connection::take_message() {
    if (ended() || qp_->responder.received.empty()) return std::nullopt;
    MessageRing& ring = qp_->responder.received;
    const MessageRing::Message& message = ring.at(ring.head++);
    return std::vector<std::byte>(message.data, message.data + message.bytes);
}

void Connection::send(std::span<const std::byte> message) {
    posted(!ended() &&
           roce::post_send(engine_, *qp_, 0, message.data(), static_cast<uint32_t>(message.size())));
}

void Connection::read(uint32_t rkey, uint64_t address, std::span<std::byte> to) {
    posted(!ended() &&
           roce::post_read(engine_, *qp_, 0, rkey, address, to.data(), static_cast<uint32_t>(to.size())));
}

void Connection::write(uint32_t rkey, uint64_t address, std::span<const std::byte> from) {
    posted(!ended() && roce::post_write(engine_, *qp_, 0, rkey, address, from.data(),
                                        static_cast<uint32_t>(from.size())));
}

void Connection::posted(bool taken) {
    if (!taken) throw std::runtime_error("the connection takes no request" + (": " + failure_));
    outstanding_++;
}

void Connection::completed(roce::WorkStatus status) {
    outstanding_--;
    if (status != roce::WorkStatus::success && failure_.empty()) failure_ = roce::to_string(status);
}

}  // namespace lagan::interop
