// SPDX-License-Identifier: BSD-3-Clause
// Reads one TOML table key by key and turns whatever is wrong with it into an OptionError that names file,
// line, column and key. Keys that nobody asked for are refused at the end, so the calls are the schema.
#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lagan::appliance {

template <typename T>
struct NamedValue {
    std::string_view name;
    T value;
};

class TomlReader {
  public:
    // `prefix` is put before keys in errors ("memory" gives "memory.size"); empty for the root. The table
    // must outlive the reader.
    TomlReader(const toml::table& table, std::string prefix);

    // All of these return nothing when the key is absent and throw OptionError when its value is of another
    // type or outside what is allowed.
    std::optional<std::string> text(std::string_view key);
    std::optional<uint64_t> integer(std::string_view key, uint64_t min, uint64_t max);
    std::optional<std::vector<std::string>> texts(std::string_view key);
    std::optional<std::vector<uint64_t>> integers(std::string_view key, uint64_t max);
    std::optional<uint64_t> size(std::string_view key);  // a whole number of bytes, or text with a unit
    template <typename T>
    std::optional<T> choice(std::string_view key, std::span<const NamedValue<T>> values);
    const toml::table* table(std::string_view key);
    std::vector<const toml::table*> tables(std::string_view key);  // [[key]]

    // True when the key is there and is the text "auto". Read the key with something else afterwards if not.
    bool is_auto(std::string_view key);

    // Throws for the first key of the table that none of the calls above asked for.
    void refuse_unknown_keys() const;

    // Throws OptionError at the key's value, or at the table when the key is absent.
    [[noreturn]] void fail(std::string_view key, const std::string& what) const;

  private:
    const toml::node* find(std::string_view key);
    std::string full_key(std::string_view key) const;
    [[noreturn]] void fail_at(const toml::source_region& where, std::string_view key,
                              const std::string& what) const;
    [[noreturn]] void wrong_type(std::string_view key, const toml::node& node,
                                 const std::string& wanted) const;
    size_t choose(std::string_view key, std::span<const std::string_view> names, bool& found);

    const toml::table& table_;
    std::string prefix_;
    std::vector<std::string> known_keys_;
};

template <typename T>
std::optional<T> TomlReader::choice(std::string_view key, std::span<const NamedValue<T>> values) {
    std::vector<std::string_view> names;
    for (const auto& value : values)
        names.push_back(value.name);
    bool found = false;
    const size_t index = choose(key, names, found);
    if (!found) return std::nullopt;
    return values[index].value;
}

// "FILE:LINE:COLUMN", or what --set said.
std::string describe_location(const toml::source_region& where);

// Parses a document. `source` is how errors call it. Throws OptionError.
toml::table parse_toml(std::string_view text, const std::string& source);

}  // namespace lagan::appliance
