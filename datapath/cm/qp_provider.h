// SPDX-License-Identifier: BSD-3-Clause
// What the connection manager needs from whoever owns the queue pairs. Called by the control thread only.
#pragma once

#include <cstdint>

#include "datapath/qp_attributes.h"

namespace lagan::cm {

class QpProvider {
  public:
    virtual ~QpProvider() = default;

    // A number that is not in use; 0 when there is none. It is given back by release_qpn() when no queue pair
    // was created with it, else by destroy(). A number should not come up again soon after that: packets in
    // flight would meet another connection.
    virtual uint32_t allocate_qpn() = 0;
    virtual void release_qpn(uint32_t qpn) = 0;

    // Makes the queue pair attributes.qpn, ready to receive and to send, on `engine`. False: no memory for
    // it.
    virtual bool create(const QpAttributes& attributes, uint32_t engine) = 0;

    // The queue pair stops soon: what its owner is doing with it, it may still end.
    virtual void destroy(uint32_t qpn) = 0;

    // False from destroy() until its owner has let go of it, and nothing of it is carried out any more.
    virtual bool is_gone(uint32_t qpn) = 0;

    // Whether a valid packet has arrived on the queue pair: that proves the peer established, as an RTU does.
    virtual bool has_received(uint32_t qpn) = 0;
};

}  // namespace lagan::cm
