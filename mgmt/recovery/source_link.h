// SPDX-License-Identifier: BSD-3-Clause
// What a rebuild needs of the appliance to reach a region's old home: a connection to it, as a puller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "datapath/puller.h"

namespace lagan::recovery {

struct SourceAddress {
    std::string address;         // of a port of its, "10.77.0.1"
    uint16_t port = 0;           // its rdma.service_port
    std::vector<uint8_t> grant;  // 56 bytes, of the role recover
    uint64_t epoch = 0;          // that the region had there; 0: any below the new one
};

struct SourceError : std::runtime_error {
    enum class Why : uint8_t {
        lost,       // no answer, or the connection has ended; may pass
        refused,    // it says no, and why; may pass with another grant, or when it has started
        not_asked,  // this appliance cannot: no port in its network, no room for a connection
        invalid,    // it is not the region that is wanted, or what it says of itself cannot be
        cancelled,  // by us
    } why;
    SourceError(Why w, const std::string& what) : std::runtime_error(what), why(w) {}
};

using Cancelled = std::function<bool()>;

class SourceLink {
  public:
    // Ends the connection; when it returns, the engine knows the puller no more.
    virtual ~SourceLink() = default;
    virtual Puller& puller() = 0;
    // The private data of its answer: capsule::Welcome, if it is an appliance.
    virtual std::span<const uint8_t> welcome() const = 0;
};

// Connects, waiting as long as it takes or until `cancelled`. Throws SourceError.
using Connect =
    std::function<std::unique_ptr<SourceLink>(const SourceAddress& to, const Cancelled& cancelled)>;

}  // namespace lagan::recovery
