// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/option_overrides.h"

#include <fmt/format.h>

#include "appliance/options.h"
#include "appliance/toml_reader.h"

namespace lagan::appliance {

namespace {

// The table of `tables` whose key "name" is `name`, or null.
toml::table* find_named(toml::array& tables, std::string_view name) {
    for (toml::node& element : tables) {
        if (element.as_table()->at_path("name").value_exact<std::string_view>() == name)
            return element.as_table();
    }
    return nullptr;
}

void merge(toml::table& into, toml::table&& changes);

void merge_named(toml::array& tables, std::string_view array_key, toml::table&& changes) {
    for (auto&& [name, change] : changes) {
        toml::table* target = find_named(tables, name.str());
        if (target == nullptr || !change.is_table()) {
            throw OptionError(
                fmt::format("{}: there is no [[{}]] with name = \"{}\"; write {}.NAME.KEY=VALUE",
                            describe_location(change.source()), array_key, name.str(), array_key));
        }
        merge(*target, std::move(*change.as_table()));
    }
}

// Nodes are moved, not copied: a copy would lose where it came from, which errors name.
void merge(toml::table& into, toml::table&& changes) {
    for (auto&& [key, change] : changes) {
        toml::node* existing = into.get(key.str());
        if (existing != nullptr && existing->is_table() && change.is_table()) {
            merge(*existing->as_table(), std::move(*change.as_table()));
        } else if (existing != nullptr && existing->is_array_of_tables() && change.is_table()) {
            merge_named(*existing->as_array(), key.str(), std::move(*change.as_table()));
        } else {
            change.visit([&into, &key = key](auto&& node) { into.insert_or_assign(key, std::move(node)); });
        }
    }
}

toml::table parse_setting(const std::string& setting) {
    const std::string source = "--set " + setting;
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
        throw OptionError(source + ": write --set KEY=VALUE, as in --set memory.size=1GiB");
    }
    if (setting.find('\n') != std::string::npos) throw OptionError("--set: line breaks are not allowed");
    try {
        return parse_toml(setting, source);
    } catch (const OptionError&) {
        // Not a TOML value: plain text then. If the key is what is wrong, this throws again.
        const std::string value = setting.substr(equals + 1);
        if (value.find('\'') != std::string::npos) throw;
        return parse_toml(fmt::format("{} = '{}'", setting.substr(0, equals), value), source);
    }
}

}  // namespace

void apply_overrides(toml::table& root, const std::vector<std::string>& settings) {
    for (const std::string& setting : settings)
        merge(root, parse_setting(setting));
}

}  // namespace lagan::appliance
