// SPDX-License-Identifier: BSD-3-Clause
// A request and its answer, free of any HTTP library.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace lagan::appliance {

struct ApiRequest {
    std::string method;  // "GET"
    std::string target;  // path and query as sent
    std::string body;
};

struct ApiReply {
    unsigned status = 200;
    nlohmann::json body;          // null: none
    bool problem = false;         // RFC 7807
    std::string allowed_methods;  // for status 405

    std::string body_text() const;
    const char* content_type() const { return problem ? "application/problem+json" : "application/json"; }
};

// RFC 7807: {"type": "about:blank", "title", "status", "detail"}.
ApiReply problem(unsigned status, const std::string& detail);

}  // namespace lagan::appliance
