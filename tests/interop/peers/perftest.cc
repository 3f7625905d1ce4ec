// SPDX-License-Identifier: BSD-3-Clause
#include "tests/interop/peers/perftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/endian/buffers.hpp>
#include <cstring>
#include <stdexcept>

namespace lagan::interop {

namespace {

constexpr uint32_t kConnectionsPerClient = 2;
constexpr size_t kVersionBytes = 16;
constexpr size_t kNumberBytes = 4;
constexpr size_t kMtuBytes = 2;
constexpr size_t kFigureBytes = 8;

// What each side tells about its queue pair and memory, as perftest 6.06 sends it.
struct Keys {
    boost::endian::big_uint32_buf_t lid;
    boost::endian::big_uint32_buf_t outstanding;  // READs and atomics
    boost::endian::big_uint32_buf_t qpn;
    boost::endian::big_uint32_buf_t psn;
    boost::endian::big_uint32_buf_t rkey;
    boost::endian::big_uint32_buf_t reserved;
    boost::endian::big_uint64_buf_t address;
    uint8_t gid[16];
    boost::endian::big_uint32_buf_t srq;
    boost::endian::big_uint32_buf_t gid_index;
};
static_assert(sizeof(Keys) == 56);

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

Keys keys_of(const Node& node, const Connection& connection) {
    const QpAttributes& attributes = connection.attributes();
    Keys keys{};
    keys.outstanding = attributes.responder_resources;
    keys.qpn = attributes.qpn;
    keys.psn = attributes.receive_psn;
    keys.rkey = node.offer().rkey;
    std::copy(attributes.path.local_ip.bytes.begin(), attributes.path.local_ip.bytes.end(), keys.gid);
    return keys;
}

void answer(const Node& node, Connection& connection, std::span<const std::byte> message) {
    switch (message.size()) {
        case kVersionBytes:
        case kNumberBytes:
        case kMtuBytes:
        case kFigureBytes:
            return connection.send(message);
        case sizeof(Keys): {
            const Keys keys = all_zero(message) ? Keys{} : keys_of(node, connection);
            return connection.send(std::as_bytes(std::span(&keys, 1)));
        }
        default:
            throw std::runtime_error(
                fmt::format("a message of {} bytes from {}, which perftest does not send", message.size(),
                            connection.remote()));
    }
}

}  // namespace

void serve_perftest(Node& node, uint32_t clients) {
    std::vector<Connection*> connections;
    uint32_t ended = 0;
    node.wait([&] {
        while (Connection* next = node.next_connection())
            connections.push_back(next);
        // Who has gone had all the answers, though acknowledgements may be lost.
        ended += static_cast<uint32_t>(std::erase_if(connections, [](Connection* c) { return c->ended(); }));
        for (Connection* connection : connections) {
            while (const auto message = connection->take_message())
                answer(node, *connection, *message);
            if (!connection->failure().empty())
                throw std::runtime_error("an answer was not delivered: " + connection->failure());
        }
        return ended == clients * kConnectionsPerClient;
    });
}

}  // namespace lagan::interop
