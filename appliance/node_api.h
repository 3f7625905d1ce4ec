// SPDX-License-Identifier: BSD-3-Clause
// The node API: from an HTTP request to a call of NodeService and back. docs/operations.md lists the routes.
#pragma once

#include "appliance/control_queue.h"
#include "appliance/node_service.h"
#include "mgmt/http/server.h"

namespace lagan::appliance {

class NodeApi {
  public:
    // Both outlive it. Every call of `service` is made on the control thread.
    NodeApi(NodeService& service, ControlQueue& control) : service_(service), control_(control) {}

    // Any thread but the control thread. Never throws: whatever goes wrong is a reply.
    http::Reply handle(const http::Request& request) const;

    // For an http::Server: handle() in lanes, so that a store or a checkpoint that hangs keeps nobody waiting
    // who asks for something else. Must outlive the server.
    http::Handlers handlers() const;

  private:
    NodeService& service_;
    ControlQueue& control_;
};

}  // namespace lagan::appliance
