// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/toml_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "appliance/options.h"
#include "appliance/size_text.h"

namespace lagan::appliance {

namespace {

// Levenshtein's distance: single-character changes that turn one word into the other.
size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = row[0]++;
        for (size_t j = 0; j < b.size(); ++j) {
            const size_t replace = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replace, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

// The known word that `word` was probably meant to be; empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known) {
    std::string best;
    size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
    for (const std::string& candidate : known) {
        const size_t distance = edit_distance(word, candidate);
        if (distance >= best_distance || distance >= candidate.size()) continue;
        best = candidate;
        best_distance = distance;
    }
    return best;
}

std::string type_name(const toml::node& node) {
    switch (node.type()) {
        case toml::node_type::table:
            return "a table";
        case toml::node_type::array:
            return node.is_array_of_tables() ? "an array of tables" : "an array";
        case toml::node_type::string:
            return "text";
        case toml::node_type::integer:
            return "a whole number";
        case toml::node_type::floating_point:
            return "a fraction";
        case toml::node_type::boolean:
            return "true or false";
        default:
            return "a date or time";
    }
}

}  // namespace

std::string describe_location(const toml::source_region& where) {
    const std::string path = where.path ? *where.path : "configuration";
    if (path.starts_with("--set")) return path;
    return fmt::format("{}:{}:{}", path, where.begin.line, where.begin.column);
}

toml::table parse_toml(std::string_view text, const std::string& source) {
    try {
        return toml::parse(text, source);
    } catch (const toml::parse_error& error) {
        throw OptionError(
            fmt::format("{}: not valid TOML: {}", describe_location(error.source()), error.description()));
    }
}

TomlReader::TomlReader(const toml::table& table, std::string prefix)
    : table_(table), prefix_(std::move(prefix)) {}

std::string TomlReader::full_key(std::string_view key) const {
    return prefix_.empty() ? std::string(key) : fmt::format("{}.{}", prefix_, key);
}

void TomlReader::fail_at(const toml::source_region& where, std::string_view key,
                         const std::string& what) const {
    throw OptionError(fmt::format("{}: {}: {}", describe_location(where), full_key(key), what));
}

void TomlReader::fail(std::string_view key, const std::string& what) const {
    const toml::node* node = table_.get(key);
    fail_at(node != nullptr ? node->source() : table_.source(), key, what);
}

void TomlReader::wrong_type(std::string_view key, const toml::node& node, const std::string& wanted) const {
    fail_at(node.source(), key, fmt::format("is {}, but must be {}", type_name(node), wanted));
}

const toml::node* TomlReader::find(std::string_view key) {
    if (std::find(known_keys_.begin(), known_keys_.end(), key) == known_keys_.end())
        known_keys_.emplace_back(key);
    return table_.get(key);
}

bool TomlReader::is_auto(std::string_view key) {
    const toml::node* node = find(key);
    return node != nullptr && node->value_exact<std::string_view>() == "auto";
}

std::optional<std::string> TomlReader::text(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    if (!node->is_string()) wrong_type(key, *node, "text in quotes");
    return node->value_exact<std::string>();
}

std::optional<uint64_t> TomlReader::integer(std::string_view key, uint64_t min, uint64_t max) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    const std::string wanted = fmt::format("a whole number from {} to {}", min, max);
    if (!node->is_integer()) wrong_type(key, *node, wanted);
    const int64_t value = node->as_integer()->get();
    if (value < 0 || static_cast<uint64_t>(value) < min || static_cast<uint64_t>(value) > max) {
        fail(key, fmt::format("is {}, but must be {}", value, wanted));
    }
    return static_cast<uint64_t>(value);
}

std::optional<std::vector<std::string>> TomlReader::texts(std::string_view key) {
    constexpr const char* kWanted = "a list of texts, [\"...\", \"...\"]";
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    if (!node->is_array()) wrong_type(key, *node, kWanted);
    std::vector<std::string> values;
    for (const toml::node& element : *node->as_array()) {
        if (!element.is_string()) wrong_type(key, element, fmt::format("text: the key takes {}", kWanted));
        values.push_back(element.as_string()->get());
    }
    return values;
}

std::optional<std::vector<uint64_t>> TomlReader::integers(std::string_view key, uint64_t max) {
    const std::string wanted = fmt::format("\"auto\" or a list of whole numbers from 0 to {}", max);
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    if (!node->is_array()) wrong_type(key, *node, wanted);
    std::vector<uint64_t> values;
    for (const toml::node& element : *node->as_array()) {
        if (!element.is_integer())
            wrong_type(key, element, fmt::format("a whole number: the key takes {}", wanted));
        const int64_t value = element.as_integer()->get();
        if (value < 0 || static_cast<uint64_t>(value) > max) {
            fail_at(element.source(), key, fmt::format("contains {}, but must be {}", value, wanted));
        }
        values.push_back(static_cast<uint64_t>(value));
    }
    return values;
}

std::optional<uint64_t> TomlReader::size(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) return std::nullopt;
    const std::string wanted = fmt::format("a size: {}", kSizeSyntax);
    if (const auto* number = node->as_integer(); number != nullptr && number->get() >= 0) {
        return static_cast<uint64_t>(number->get());
    }
    const auto* text = node->as_string();
    if (text == nullptr) wrong_type(key, *node, wanted);
    const auto bytes = parse_size(text->get());
    if (!bytes) fail(key, fmt::format("\"{}\" is not {}", text->get(), wanted));
    return bytes;
}

size_t TomlReader::choose(std::string_view key, std::span<const std::string_view> names, bool& found) {
    const toml::node* node = find(key);
    if (node == nullptr) return 0;
    const std::string wanted = fmt::format("one of \"{}\"", fmt::join(names, "\", \""));
    if (!node->is_string()) wrong_type(key, *node, wanted);
    const std::string& value = node->as_string()->get();
    const auto match = std::find(names.begin(), names.end(), value);
    if (match == names.end()) fail(key, fmt::format("is \"{}\", but must be {}", value, wanted));
    found = true;
    return static_cast<size_t>(match - names.begin());
}

const toml::table* TomlReader::table(std::string_view key) {
    const toml::node* node = find(key);
    if (node == nullptr) return nullptr;
    if (!node->is_table())
        wrong_type(key, *node, fmt::format("a table: write [{}] before its keys", full_key(key)));
    return node->as_table();
}

std::vector<const toml::table*> TomlReader::tables(std::string_view key) {
    const toml::node* node = find(key);
    std::vector<const toml::table*> tables;
    if (node == nullptr) return tables;
    if (!node->is_array_of_tables()) {
        wrong_type(key, *node,
                   fmt::format("an array of tables: write [[{}]] before the keys of each", full_key(key)));
    }
    for (const toml::node& element : *node->as_array())
        tables.push_back(element.as_table());
    return tables;
}

void TomlReader::refuse_unknown_keys() const {
    for (const auto& [key, node] : table_) {
        if (std::find(known_keys_.begin(), known_keys_.end(), key.str()) != known_keys_.end()) continue;
        const std::string meant = nearest(key.str(), known_keys_);
        fail_at(key.source().begin ? key.source() : node.source(), key.str(),
                fmt::format("unknown key{}; known here: {}",
                            meant.empty() ? "" : fmt::format(", did you mean '{}'?", meant),
                            fmt::join(known_keys_, ", ")));
    }
}

}  // namespace lagan::appliance
