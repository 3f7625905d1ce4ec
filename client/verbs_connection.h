// SPDX-License-Identifier: BSD-3-Clause
// A queue pair connected by the kernel's connection manager (librdmacm), with all that it needs: event
// channel, protection domain, completion queue. What is sent over it is verbs_fabric.h's matter.
// Single-threaded.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace lagan::client {

// Nobody was asked: there is no way to the address.
struct NoWay : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct VerbsConnectOptions {
    // "10.77.0.1", "10.77.0.1:7471", "fd77::1", "[fd77::1]:7471", or a host's name
    std::string address;
    std::vector<uint8_t> grant;                 // 56 bytes, from the appliance's node API
    std::chrono::milliseconds timeout{10'000};  // for each step of connecting
    std::function<bool()> interrupted;  // asked now and then; true: connecting is given up. May be empty
};

class VerbsConnection {
  public:
    // Finds the device that leads to the address and makes a queue pair of these depths on it. Throws
    // std::runtime_error that says what is missing: device, route, permission, memory limit.
    VerbsConnection(const VerbsConnectOptions& options, uint32_t send_depth, uint32_t receive_depth);
    VerbsConnection(const VerbsConnection&) = delete;
    VerbsConnection& operator=(const VerbsConnection&) = delete;

    // Asks the appliance, and returns its reply's private data. Receives are to be posted before. Throws
    // std::runtime_error with the appliance's own words when it refuses.
    std::vector<uint8_t> connect(std::span<const uint8_t> grant);

    // Has the connection ended, and why? Empty: it has not. Costs a system call. A queue pair whose device
    // was removed is destroyed.
    std::string look_for_end();

    // The device was removed: the queue pair has been destroyed, without its completions.
    bool device_gone() const { return queue_pair_ == nullptr; }

    // Orderly: DREQ, and waits for the DREP, two seconds at most. The queue pair flushes what it has.
    void disconnect();
    // The same in steps that do not wait, until it is true: the DREP has come, or the kernel has given up
    // asking for it (some fifteen times at intervals of four seconds).
    bool try_disconnect();

    // Nothing of the queue pair's reaches memory any more. Before memory is deregistered.
    void destroy_queue_pair() { queue_pair_.reset(); }

    ibv_pd* protection_domain() { return domain_.get(); }
    ibv_cq* completion_queue() { return completions_.get(); }
    ibv_qp* queue_pair() { return id_->qp; }

  private:
    struct Event {
        rdma_cm_event_type type;
        int status;
        std::vector<uint8_t> private_data;
    };
    template <auto kDestroy>
    struct Destroy {
        template <typename T>
        void operator()(T* what) const {
            kDestroy(what);
        }
    };
    template <typename T, auto kDestroy>
    using Owned = std::unique_ptr<T, Destroy<kDestroy>>;

    void resolve(const std::string& address);
    void make_queue_pair(uint32_t send_depth, uint32_t receive_depth);
    std::optional<Event> next_event(std::chrono::milliseconds timeout);
    Event expect_event(const std::string& waiting_for);

    const std::string address_;
    const std::chrono::milliseconds timeout_;
    const std::function<bool()> interrupted_;
    bool asked_to_end_ = false, ended_ = false;
    // In the order in which they depend on each other.
    Owned<rdma_event_channel, rdma_destroy_event_channel> channel_;
    Owned<rdma_cm_id, rdma_destroy_id> id_;
    Owned<ibv_pd, ibv_dealloc_pd> domain_;
    Owned<ibv_cq, ibv_destroy_cq> completions_;
    Owned<rdma_cm_id, rdma_destroy_qp> queue_pair_;  // the id once more, for the queue pair in it
};

}  // namespace lagan::client
