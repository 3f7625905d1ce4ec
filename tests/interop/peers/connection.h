// SPDX-License-Identifier: BSD-3-Clause
// One RC connection as the protocols above see it: messages in, requests out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datapath/engine.h"
#include "datapath/roce/requester.h"

namespace lagan::interop {

class Connection {
  public:
    Connection(Engine& engine, Qp& qp) : engine_(engine), qp_(&qp), attributes_(qp.attributes) {}

    // The oldest message received and not yet taken.
    std::optional<std::vector<std::byte>> take_message();

    // Requests; done() says when all of them are, failure() how. They throw std::runtime_error when the
    // connection takes none. Local buffers stay valid and unchanged until then; a message is copied.
    void send(std::span<const std::byte> message);
    void read(uint32_t rkey, uint64_t address, std::span<std::byte> to);
    void write(uint32_t rkey, uint64_t address, std::span<const std::byte> from);

    bool done() const { return outstanding_ == 0; }
    bool ended() const { return qp_ == nullptr; }  // disconnected, by whichever side
    // Of a request or of the connection; empty: none.
    const std::string& failure() const { return failure_; }

    uint32_t qpn() const { return attributes_.qpn; }
    const QpAttributes& attributes() const { return attributes_; }
    std::string remote() const { return attributes_.path.remote_ip.to_string(); }

    // What becomes of it, told by the node.
    void completed(roce::WorkStatus status);
    void end() { qp_ = nullptr; }

  private:
    void posted(bool taken);

    Engine& engine_;
    Qp* qp_;  // null once the connection has ended
    const QpAttributes attributes_;
    uint32_t outstanding_ = 0;
    std::string failure_;
};

}  // namespace lagan::interop
