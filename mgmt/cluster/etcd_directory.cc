// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/etcd_directory.h"

#include <openssl/evp.h>

#include <charconv>
#include <random>

namespace lagan::cluster {

using Kind = DirectoryError::Kind;
using nlohmann::json;

namespace {

std::string to_base64(const std::string& text) {
    std::string coded(4 * ((text.size() + 2) / 3) + 1, '\0');
    const int length =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(coded.data()),
                        reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    coded.resize(static_cast<size_t>(length));
    return coded;
}

// Nothing when it is not base64.
std::optional<std::string> from_base64(const std::string& coded) {
    std::string text(coded.size() / 4 * 3 + 1, '\0');
    const int length =
        EVP_DecodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                        reinterpret_cast<const unsigned char*>(coded.data()), static_cast<int>(coded.size()));
    if (length < 0) return std::nullopt;
    size_t size = static_cast<size_t>(length);
    for (size_t i = coded.size(); i > 0 && coded[i - 1] == '=' && size > 0; --i)
        --size;
    text.resize(size);
    return text;
}

// The gateway writes 64-bit numbers as text, and leaves out zeros.
uint64_t number(const json& object, const char* key) {
    const auto field = object.find(key);
    if (field == object.end() || !field->is_string()) return 0;
    const auto& digits = field->get_ref<const std::string&>();
    uint64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

std::string word(const json& object, const char* key) {
    const auto field = object.find(key);
    return field != object.end() && field->is_string() ? field->get<std::string>() : "";
}

std::string end_of(std::string prefix) {
    ++prefix.back();  // our prefixes are ASCII
    return prefix;
}

uint64_t draw() {
    static thread_local std::mt19937_64 random{std::random_device{}()};
    return random();
}

json compare_revision(const std::string& key, uint64_t expected) {
    return {{"key", to_base64(key)},
            {"target", "MOD"},
            {"result", "EQUAL"},
            {"mod_revision", std::to_string(expected)}};
}

bool succeeded(const json& answer) {
    return answer.value("succeeded", false);
}

}  // namespace

struct EtcdDirectory::Stored {
    std::string key;
    json value;  // as put() wrote it: {"value", "change"}
    uint64_t revision = 0;
    std::string lease;
};

EtcdDirectory::EtcdDirectory(const DirectoryOptions& options)
    : client_(options), keys_(options.prefix), leader_(options.prefix + "leader") {}

std::string EtcdDirectory::describe() const {
    return "the directory in " + client_.describe();
}

void EtcdDirectory::damaged(const std::string& key) const {
    throw DirectoryError(Kind::damaged,
                         describe() + ": what it has of " + key + " was not written by lagan-mgmtd");
}

EtcdDirectory::Stored EtcdDirectory::parse(const json& kv) const {
    const auto key = from_base64(word(kv, "key"));
    const auto text = from_base64(word(kv, "value"));
    if (!key || !text || key->size() < keys_.size()) damaged("some key");
    Stored stored{.key = key->substr(keys_.size()),
                  .value = json::parse(*text, nullptr, false),
                  .revision = number(kv, "mod_revision"),
                  .lease = word(kv, "lease")};
    if (!stored.value.is_object() || !stored.value.contains("value")) damaged(stored.key);
    return stored;
}

std::optional<EtcdDirectory::Stored> EtcdDirectory::read(const std::string& key) {
    const json answer = client_.call("/v3/kv/range", {{"key", to_base64(key)}}).body;
    const auto kvs = answer.find("kvs");
    if (kvs == answer.end() || kvs->empty()) return std::nullopt;
    return parse(kvs->front());
}

std::optional<Entry> EtcdDirectory::get(const std::string& key) {
    auto stored = read(keys_ + key);
    if (!stored) return std::nullopt;
    return Entry{.key = key, .value = std::move(stored->value["value"]), .revision = stored->revision};
}

std::vector<Entry> EtcdDirectory::list(const std::string& prefix, const std::string& after, uint64_t limit) {
    const std::string from = after.empty() || after < prefix ? prefix : after + '\0';
    const json answer = client_
                            .call("/v3/kv/range", {{"key", to_base64(keys_ + from)},
                                                   {"range_end", to_base64(end_of(keys_ + prefix))},
                                                   {"limit", std::to_string(limit)}})
                            .body;
    std::vector<Entry> entries;
    if (!answer.contains("kvs")) return entries;
    for (const json& kv : answer["kvs"]) {
        Stored stored = parse(kv);
        entries.push_back({.key = std::move(stored.key),
                           .value = std::move(stored.value["value"]),
                           .revision = stored.revision});
    }
    return entries;
}

std::optional<uint64_t> EtcdDirectory::put(const std::string& key, const json& value, uint64_t expected) {
    const uint64_t change = draw();
    const std::string text = json({{"value", value}, {"change", change}}).dump();
    const auto answer = client_.call(
        "/v3/kv/txn",
        {{"compare", json::array({compare_revision(keys_ + key, expected)})},
         {"success",
          json::array({{{"request_put", {{"key", to_base64(keys_ + key)}, {"value", to_base64(text)}}}}})}});
    if (succeeded(answer.body)) return number(answer.body.at("header"), "revision");
    if (!answer.repeated) return std::nullopt;
    const auto stored = read(keys_ + key);
    if (stored && stored->value.value("change", uint64_t{0}) == change) return stored->revision;
    return std::nullopt;
}

bool EtcdDirectory::remove(const std::string& key, uint64_t expected) {
    const auto answer = client_.call(
        "/v3/kv/txn",
        {{"compare", json::array({compare_revision(keys_ + key, expected)})},
         {"success", json::array({{{"request_delete_range", {{"key", to_base64(keys_ + key)}}}}})}});
    if (succeeded(answer.body)) return expected != kAbsent;
    return answer.repeated && !read(keys_ + key);
}

uint64_t EtcdDirectory::revision() {
    const json answer = client_.call("/v3/kv/range", {{"key", to_base64(keys_)}, {"count_only", true}}).body;
    return number(answer.at("header"), "revision");
}

// ---- Leadership: a key that goes with a lease of etcd's ----

bool EtcdDirectory::keep_alive(const std::string& lease) {
    const json answer = client_.call("/v3/lease/keepalive", {{"ID", lease}}).body;
    const auto result = answer.find("result");
    return result != answer.end() && number(*result, "TTL") > 0;
}

bool EtcdDirectory::campaign(const std::string& candidate, std::chrono::milliseconds ttl) {
    const std::lock_guard lock(mutex_);
    if (const auto held = read(leader_)) {
        if (held->value["value"] != candidate || held->lease != lease_ || lease_.empty()) return false;
        return keep_alive(lease_);
    }
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(ttl).count();
    lease_ = word(client_.call("/v3/lease/grant", {{"TTL", std::to_string(seconds)}}).body, "ID");
    const std::string text = json({{"value", candidate}}).dump();
    const auto answer = client_.call(
        "/v3/kv/txn",
        {{"compare", json::array({compare_revision(leader_, kAbsent)})},
         {"success",
          json::array({{{"request_put",
                         {{"key", to_base64(leader_)}, {"value", to_base64(text)}, {"lease", lease_}}}}})}});
    // If the answer to an earlier attempt was lost, the next campaign finds our lease there.
    return succeeded(answer.body);
}

std::string EtcdDirectory::leader() {
    const auto held = read(leader_);
    return held && held->value["value"].is_string() ? held->value["value"].get<std::string>() : "";
}

void EtcdDirectory::resign(const std::string& candidate) {
    const std::lock_guard lock(mutex_);
    const auto held = read(leader_);
    if (held && held->value["value"] == candidate && held->lease == lease_)
        client_.call("/v3/lease/revoke", {{"ID", lease_}});
    lease_.clear();
}

}  // namespace lagan::cluster
