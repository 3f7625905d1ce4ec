// SPDX-License-Identifier: BSD-3-Clause
// An HTTP server on loopback that answers the first requests, and lets all others wait for ever.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <string>
#include <thread>
#include <vector>

#include "datapath/memory/mapped_file.h"

namespace lagan::test {

class SilentServer {
  public:
    explicit SilentServer(int answers = 0)
        : answers_(answers),
          listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
          end_(eventfd(0, EFD_CLOEXEC)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        BOOST_REQUIRE(bind(listener_.get(), generic, length) == 0);
        BOOST_REQUIRE(listen(listener_.get(), 16) == 0);
        BOOST_REQUIRE(getsockname(listener_.get(), generic, &length) == 0);
        endpoint_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
        thread_ = std::jthread([this] { serve(); });
    }
    ~SilentServer() { eventfd_write(end_.get(), 1); }
    SilentServer(const SilentServer&) = delete;
    SilentServer& operator=(const SilentServer&) = delete;

    const std::string& endpoint() const { return endpoint_; }
    // Until so many requests have come that get no answer.
    void wait_for_unanswered(int count) const {
        for (int seen = unanswered_; seen < count; seen = unanswered_)
            unanswered_.wait(seen);
    }

  private:
    void serve() {
        std::vector<memory::FileDescriptor> connections;
        std::vector<std::string> texts;
        for (;;) {
            std::vector<pollfd> waiting{{end_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
            for (const auto& connection : connections)
                waiting.push_back({connection.get(), POLLIN, 0});
            if (poll(waiting.data(), waiting.size(), -1) < 0 || waiting[0].revents != 0) return;
            for (size_t i = connections.size(); i-- > 0;)
                if (waiting[i + 2].revents != 0 && !read_some(connections[i].get(), texts[i])) {
                    connections.erase(connections.begin() + static_cast<ptrdiff_t>(i));
                    texts.erase(texts.begin() + static_cast<ptrdiff_t>(i));
                }
            if (waiting[1].revents == 0) continue;
            connections.emplace_back(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            texts.emplace_back();
        }
    }
    // False at the end. A request that is answered has no body.
    bool read_some(int connection, std::string& text) {
        char buffer[65536];
        const ssize_t bytes = read(connection, buffer, sizeof buffer);
        if (bytes <= 0) return false;
        text.append(buffer, static_cast<size_t>(bytes));
        const size_t end = text.find("\r\n\r\n");
        if (end == text.npos) return true;
        if (answers_ == 0) {
            ++unanswered_;
            unanswered_.notify_all();
            text.assign(1U << 20, ' ');  // the rest of it is no other request
            return true;
        }
        --answers_;
        text.clear();
        const std::string body = "<ListBucketResult></ListBucketResult>";
        const std::string answer =
            "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
        return write(connection, answer.data(), answer.size()) == static_cast<ssize_t>(answer.size());
    }

    int answers_;  // the thread's
    std::atomic<int> unanswered_{0};
    const memory::FileDescriptor listener_, end_;
    std::string endpoint_;
    std::jthread thread_;
};

}  // namespace lagan::test
