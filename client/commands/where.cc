// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/where.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <boost/algorithm/string/split.hpp>
#include <stdexcept>
#include <system_error>

#include "client/connect.h"

namespace lagan::client::commands {

namespace {

std::string text_of(const toml::table& table, const char* key, const std::string& file) {
    const toml::node* const node = table.get(key);
    if (node == nullptr) return {};
    if (!node->is_string()) throw std::invalid_argument(fmt::format("{}: {}: must be text", file, key));
    return node->as_string()->get();
}

std::vector<std::string> urls_of(const toml::table& table, const std::string& file) {
    const toml::array* const list = table.get_as<toml::array>("manager");
    if (list == nullptr) {
        const std::string one = text_of(table, "manager", file);
        return one.empty() ? std::vector<std::string>{} : std::vector{one};
    }
    std::vector<std::string> urls;
    for (const toml::node& node : *list) {
        if (!node.is_string())
            throw std::invalid_argument(file + ": manager: must be text, or a list of texts");
        urls.push_back(node.as_string()->get());
    }
    return urls;
}

ManagerOptions read_config(const std::filesystem::path& path) {
    const std::string file = path.string();
    try {
        const toml::table table = toml::parse_file(file);
        for (const auto& [key, value] : table)
            if (key != "manager" && key != "token_file" && key != "ca")
                throw std::invalid_argument(
                    fmt::format("{}: unknown key \"{}\"; there are manager, token_file "
                                "and ca",
                                file, std::string(key.str())));
        // Files are named from where the configuration is.
        const auto beside = [&](const std::string& name) {
            return name.empty() ? std::filesystem::path() : path.parent_path() / name;
        };
        return {.urls = urls_of(table, file),
                .token_file = beside(text_of(table, "token_file", file)),
                .ca = beside(text_of(table, "ca", file))};
    } catch (const toml::parse_error& error) {
        throw std::invalid_argument(
            fmt::format("{}:{}: {}", file, error.source().begin.line, error.description()));
    }
}

}  // namespace

std::filesystem::path config_path(const Environment& environment) {
    if (const char* const named = environment("LAGAN_CONFIG")) return named;
    constexpr const char* kName = "lagan/config.toml";
    const char* const config_home = environment("XDG_CONFIG_HOME");
    if (config_home != nullptr && *config_home != '\0') return std::filesystem::path(config_home) / kName;
    const char* const home = environment("HOME");
    return home == nullptr ? std::filesystem::path() : std::filesystem::path(home) / ".config" / kName;
}

Where complete_where(Where given, const Environment& environment) {
    if (!given.appliance.empty()) return given;
    ManagerOptions& manager = given.manager;
    const char* const urls = environment("LAGAN_MANAGER");
    if (manager.urls.empty() && urls != nullptr && *urls != '\0')
        boost::algorithm::split(manager.urls, urls, [](char c) { return c == ','; });
    const auto from_environment = [&](std::filesystem::path& to, const char* name) {
        const char* const value = environment(name);
        if (to.empty() && value != nullptr) to = value;
    };
    from_environment(manager.token_file, "LAGAN_TOKEN_FILE");
    from_environment(manager.ca, "LAGAN_CA");

    const std::filesystem::path path = config_path(environment);
    std::error_code ignored;
    if (!path.empty() && (environment("LAGAN_CONFIG") != nullptr || std::filesystem::exists(path, ignored))) {
        const ManagerOptions file = read_config(path);
        if (manager.urls.empty()) manager.urls = file.urls;
        if (manager.token_file.empty()) manager.token_file = file.token_file;
        if (manager.ca.empty()) manager.ca = file.ca;
    }
    if (manager.urls.empty()) given.appliance = kDefaultAppliance;
    return given;
}

}  // namespace lagan::client::commands
