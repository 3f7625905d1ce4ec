// SPDX-License-Identifier: BSD-3-Clause
// A connection made by our own requester on a DPDK port.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/dpdk_host.h"
#include "client/fabric.h"
#include "datapath/roce/requester.h"

namespace lagan::client {

struct DpdkConnectOptions {
    std::string remote_address;  // "10.77.0.1"
    uint16_t service_port = 0;
    std::vector<uint8_t> grant;  // 56 bytes, from the appliance's node API
    std::chrono::milliseconds timeout{5000};
    std::function<bool()> interrupted;  // asked all the time; true: connecting is given up. May be empty
};

class DpdkFabric final : public Fabric {
  public:
    // Connects, polling the host until it is done. Throws std::runtime_error that says why not.
    DpdkFabric(std::shared_ptr<DpdkHost> host, const DpdkConnectOptions& options);
    ~DpdkFabric() override;
    DpdkFabric(const DpdkFabric&) = delete;
    DpdkFabric& operator=(const DpdkFabric&) = delete;

    // Nothing to do: the processor copies, from and to any memory.
    void register_memory(std::span<std::byte>) override {}
    bool post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                   uint32_t bytes) override;
    bool post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                    uint32_t bytes) override;
    bool post_send(uint64_t cookie, std::span<const std::byte> message) override;
    size_t poll(std::span<Completion> out) override;
    size_t receive(std::span<std::byte> to) override;

    const RegionInfo& region() const override { return region_; }
    uint32_t send_queue_depth() const override { return kSendQueueDepth; }
    bool connected() const override { return failure_.empty(); }
    std::string failure() const override { return failure_; }
    void disconnect() override;
    bool try_disconnect() override;

    // The host tells what became of requests and of the connection, and of its port.
    void completed(uint64_t cookie, roce::WorkStatus status);
    void disconnected(const std::string& why);
    void port_lost(const std::string& why);

  private:
    explicit DpdkFabric(std::shared_ptr<DpdkHost> host);
    struct Answer;
    void connect(const DpdkConnectOptions& options);
    void ask(const cm::ConnectParams& params, const DpdkConnectOptions& options,
             const std::shared_ptr<Answer>& answer);
    void stop_sending();

    std::shared_ptr<DpdkHost> host_;
    Qp* qp_ = nullptr;  // null once the connection has gone
    uint32_t qpn_ = 0;
    RegionInfo region_{};
    std::string failure_;
    std::deque<Completion> completions_;
    std::shared_ptr<bool> let_go_;  // by the peer; null until disconnect() has been called
};

}  // namespace lagan::client
