// SPDX-License-Identifier: BSD-3-Clause
// A server's connection: reads a request, has a worker handle it, writes the reply, over again. Inside
// mgmt/http only; everything of it is the I/O thread's, unless it says otherwise.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <functional>
#include <memory>

#include "mgmt/http/server.h"
#include "mgmt/http/transport.h"

namespace lagan::http {

struct LaneState {
    const Lane lane;
    boost::asio::thread_pool workers;
    unsigned requests = 0;

    explicit LaneState(const Lane& wanted) : lane(wanted), workers(wanted.threads) {}
};

// What sessions share.
struct Service {
    const Handlers handlers;  // any thread
    const Limits limits;
    boost::asio::io_context context{1};
    unsigned streams = 0;
};

class Session : public std::enable_shared_from_this<Session> {
  public:
    // `ended` is called once, when the connection is over; `lanes` are the service's handlers'.
    Session(Service& service, std::deque<LaneState>& lanes, std::unique_ptr<Transport> transport,
            std::function<void(const std::shared_ptr<Session>&)> ended);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void begin();
    void close();

  private:
    struct Input;  // what has been read, and the parser

    // How the present request wants to be answered.
    struct Manner {
        bool keep_alive = false;
        bool head_only = false;
        bool chunks = true;  // HTTP/1.1
    };

    void read();
    void parse();
    void read_more();
    void refuse(Error error);
    void ask_worker();
    void answer(Reply&& reply, const Manner& manner);
    void write(std::function<void()> next);
    void begin_stream(const Reply& reply, const Manner& manner);
    void pump();
    void beat();
    void write_part(const std::string& text, bool last);
    void watch_client();
    void end(bool all_read);
    void drain();
    void finish();
    void arm(std::chrono::milliseconds after, void (Session::*action)());

    Service& service_;
    std::deque<LaneState>& lanes_;
    const std::unique_ptr<Transport> transport_;
    const std::function<void(const std::shared_ptr<Session>&)> ended_;
    boost::asio::steady_timer timer_;
    Peer peer_;
    std::unique_ptr<Input> input_;
    std::string output_;
    std::shared_ptr<EventStream> stream_;
    bool stream_chunks_ = false;
    bool stream_of_events_ = false;
    bool writing_ = false;  // of a stream
    bool closed_ = false;
    bool finished_ = false;
    std::array<char, 4096> drained_{};
    size_t drained_bytes_ = 0;
};

}  // namespace lagan::http
