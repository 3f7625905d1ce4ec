// SPDX-License-Identifier: BSD-3-Clause
#include "tests/interop/peers/rping.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/endian/buffers.hpp>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

namespace lagan::interop {

namespace {

constexpr uint32_t kMaxBytes = 1 << 20;

// What a SEND of the client says. Those of the server have the same size, and nobody looks at them.
struct BufferInfo {
    boost::endian::big_uint64_buf_t address;
    boost::endian::big_uint32_buf_t rkey;
    boost::endian::big_uint32_buf_t size;
};
static_assert(sizeof(BufferInfo) == 16);

void check(const Connection& connection) {
    if (!connection.failure().empty()) throw std::runtime_error("request failed: " + connection.failure());
    if (connection.ended()) throw std::runtime_error("the connection ended in the middle of a ping");
}

void wait_done(Node& node, const Connection& connection) {
    node.wait([&] { return connection.done() || connection.ended(); });
    check(connection);
}

// The next message; empty when the connection has ended instead.
std::optional<BufferInfo> next_info(Node& node, Connection& connection) {
    std::optional<std::vector<std::byte>> message;
    node.wait([&] {
        message = connection.take_message();
        return message || connection.ended() || !connection.failure().empty();
    });
    if (!message) return std::nullopt;
    if (message->size() != sizeof(BufferInfo))
        throw std::runtime_error(
            fmt::format("a message of {} bytes, not {}", message->size(), sizeof(BufferInfo)));
    BufferInfo info;
    std::memcpy(&info, message->data(), sizeof info);
    return info;
}

BufferInfo must_have_info(Node& node, Connection& connection) {
    const auto info = next_info(node, connection);
    if (!info) check(connection);
    return info.value();
}

void send_info(Connection& connection, const BufferInfo& info) {
    connection.send(std::as_bytes(std::span(&info, 1)));
}

char after(char letter) {
    return letter == 'z' ? 'A' : static_cast<char>(letter + 1);
}

// rping's text: "rdma-ping-N: " with N counting from 0, letters from A to z that go round and begin one
// further each ping, a zero at the end.
void check_text(std::span<const std::byte> bytes, uint32_t ping) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::string begin = fmt::format("rdma-ping-{}: ", ping);
    if (!text.starts_with(begin) || text.back() != '\0')
        throw std::runtime_error(
            fmt::format("ping {} does not begin with \"{}\" and end with a zero", ping, begin));
    char letter = static_cast<char>('A' + ping % ('z' - 'A' + 1));
    for (size_t i = begin.size(); i + 1 < text.size(); i++, letter = after(letter)) {
        if (text[i] != letter)
            throw std::runtime_error(
                fmt::format("ping {}: byte {} is {:#x}, not '{}'", ping, i, text[i], letter));
    }
}

void fill_text(std::span<std::byte> bytes, uint32_t ping, std::mt19937_64& random) {
    std::string text = fmt::format("lagan-ping-{}: ", ping);
    text.resize(bytes.size());
    const size_t begin = std::min(text.size(), text.find(' ') + 1);
    std::generate(text.begin() + static_cast<ptrdiff_t>(begin), text.end(),
                  [&] { return static_cast<char>('!' + random() % ('~' - '!')); });
    text.back() = '\0';  // a server that shows what it has read takes it for a string
    std::memcpy(bytes.data(), text.data(), bytes.size());
}

}  // namespace

uint32_t serve_rping(Node& node, Connection& client) {
    for (uint32_t ping = 0;; ping++) {
        const auto source = next_info(node, client);
        if (!source && client.failure().empty()) return ping;
        if (!source) check(client);
        if (source->size.value() > kMaxBytes)
            throw std::runtime_error(fmt::format("a ping of {} bytes", source->size.value()));
        std::vector<std::byte> data(source->size.value());
        client.read(source->rkey.value(), source->address.value(), data);
        wait_done(node, client);
        check_text(data, ping);
        send_info(client, BufferInfo{});
        const BufferInfo sink = must_have_info(node, client);
        client.write(sink.rkey.value(), sink.address.value(), data);
        send_info(client, BufferInfo{});  // on its way before the WRITE is acknowledged
        node.wait([&] { return client.done() || client.ended(); });
        if (client.ended()) return ping + 1;  // it had what it wanted, and its acknowledgement may be lost
        check(client);
    }
}

void run_rping(Node& node, Connection& server, uint32_t count, uint32_t size_bytes, uint64_t seed) {
    const std::span<std::byte> source = node.flat_bytes().subspan(0, size_bytes);
    const std::span<std::byte> sink = node.flat_bytes().subspan(size_bytes, size_bytes);
    std::mt19937_64 random(seed);
    const auto info = [&](uint64_t address) {
        return BufferInfo{.address = boost::endian::big_uint64_buf_t(address),
                          .rkey = boost::endian::big_uint32_buf_t(node.offer().rkey),
                          .size = boost::endian::big_uint32_buf_t(size_bytes)};
    };
    for (uint32_t ping = 0; ping < count; ping++) {
        fill_text(source, ping, random);
        std::fill(sink.begin(), sink.end(), std::byte{0xee});
        send_info(server, info(0));
        must_have_info(node, server);
        send_info(server, info(size_bytes));
        must_have_info(node, server);
        if (!std::equal(source.begin(), source.end(), sink.begin()))
            throw std::runtime_error(fmt::format("ping {} came back changed (seed {})", ping, seed));
    }
    wait_done(node, server);
}

}  // namespace lagan::interop
