// SPDX-License-Identifier: BSD-3-Clause
// What handlers of the API share: refusing, reading fields of a body in which everything is hostile, pages of
// lists.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "mgmt/cluster/api.h"

namespace lagan::cluster {

// Thrown; becomes the reply.
struct Refused {
    http::Reply reply;
};
[[noreturn]] void refuse(unsigned status, const std::string& detail);

// A body that is an object with no other fields than these. An empty body is an empty object.
class Fields {
  public:
    Fields(const std::string& body, std::initializer_list<std::string_view> known);

    std::string text(const char* key) const;  // must be there
    std::string text(const char* key, const std::string& otherwise) const;
    uint64_t size(const char* key, bool required) const;  // bytes, or "64GiB"; 0 when it is not there
    uint64_t number(const char* key, uint64_t min, uint64_t max, uint64_t otherwise) const;
    bool flag(const char* key, bool otherwise) const;
    bool has(const char* key) const { return body_.contains(key); }

  private:
    nlohmann::json body_;
};

// Names of nodes, regions, tenants: letters, digits, ".", "_" and "-", at most 63.
std::string checked_name(const std::string& name, const char* what);

// Of "?limit=&cursor=".
struct Page {
    uint64_t limit;
    std::string after;  // the key that the page before ended with
};
Page page_of(const ApiCall& call, const std::string& prefix);
// {"KEY": [...], "next": a cursor, or null when that was all}
http::Reply page_reply(const char* key, nlohmann::json items, const std::string& last_key, bool more);

// The node's own words and status, for the caller; a tenant does not learn where nodes are.
http::Reply from_node(const ApiCall& call, const NodeError& error);

// "?force=true", which is for admins.
bool is_forced(const ApiCall& call);

// A caller who sees few of them costs few requests all the same.
inline constexpr uint64_t kLeastRead = 100;

// A list of records: `visible` says which the caller may see, `shown` makes the JSON.
template <typename T, typename Visible, typename Shown>
http::Reply list_page(const ApiCall& call, const char* what, const std::string& prefix, Visible visible,
                      Shown shown) {
    const Page page = page_of(call, prefix);
    const uint64_t read = std::max(page.limit + 1, kLeastRead);
    nlohmann::json items = nlohmann::json::array();
    std::string last = page.after;
    // One more than the page has: whether there is another one.
    for (;;) {
        const auto entries = call.parts.directory.list(prefix, last, read);
        for (const Entry& entry : entries) {
            const T record = entry.value.template get<T>();
            if (visible(record)) {
                if (items.size() == page.limit) return page_reply(what, std::move(items), last, true);
                items.push_back(shown(record));
            }
            last = entry.key;
        }
        if (entries.size() < read) return page_reply(what, std::move(items), last, false);
    }
}

}  // namespace lagan::cluster
