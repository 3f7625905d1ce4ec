// SPDX-License-Identifier: BSD-3-Clause
#include "client/manager.h"

#include <fmt/format.h>

#include <boost/algorithm/hex.hpp>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace lagan::client {

using nlohmann::json;

namespace {

constexpr size_t kGrantBytes = 56;

Home home_from(const json& body) {
    Home home = {.node = body.at("node"),
                 .address = body.at("address"),
                 .port = body.at("port"),
                 .grant = {},
                 .uid = body.at("uid"),
                 .epoch = body.at("epoch"),
                 .rolled_back = std::nullopt};
    boost::algorithm::unhex(body.at("grant").get_ref<const std::string&>(), std::back_inserter(home.grant));
    if (home.grant.size() != kGrantBytes) throw boost::algorithm::not_enough_input();
    const auto rolled_back = body.find("rolled_back");
    if (rolled_back == body.end() || rolled_back->is_null()) return home;
    home.rolled_back = {.epoch = rolled_back->at("epoch"),
                        .cut_number = rolled_back->value("cut_number", uint64_t{0}),
                        .cut_time_us = rolled_back->value("cut_time_us", uint64_t{0})};
    return home;
}

}  // namespace

Home Manager::home_of(const std::string& region, Role role, std::chrono::milliseconds patience) {
    const std::string target =
        fmt::format("/v1/regions/{}/home?role={}", region, role == Role::write ? "write" : "read");
    std::string why;
    for (size_t i = 0; i < endpoints_.count(); i++) {
        const std::string name = endpoints_.name(i);
        try {
            const http::Response response = endpoints_.call(i, "GET", target, {}, {}, patience);
            if (response.status == 200) {
                Home home = home_from(json::parse(response.body));
                endpoints_.prefer(i);
                return home;
            }
            const std::string text = fmt::format("asking the manager at {} for region '{}': {}", name, region,
                                                 detail_of(response));
            if (response.status < 500 && response.status != 429) throw Refused(text);
            why += (why.empty() ? "" : "; ") + text;
        } catch (const http::ClientError& error) {
            why += (why.empty() ? "the manager at " : "; the manager at ") + std::string(error.what());
        } catch (const json::exception& error) {
            why += fmt::format("{}the manager at {} sent an answer that is none: {}", why.empty() ? "" : "; ",
                               name, error.what());
        } catch (const boost::algorithm::hex_decode_error&) {
            why +=
                fmt::format("{}the manager at {} sent a grant that is none", why.empty() ? "" : "; ", name);
        }
    }
    throw std::runtime_error(why);
}

}  // namespace lagan::client
