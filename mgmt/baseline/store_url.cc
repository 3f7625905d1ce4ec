// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/store_url.h"

#include <algorithm>
#include <charconv>
#include <map>

namespace lagan::baseline {

namespace {

constexpr std::string_view kFile = "file://";
constexpr std::string_view kS3 = "s3://";
constexpr std::string_view kRados = "rados://";
constexpr uint64_t kMinPartMib = 5;  // S3's own limits
constexpr uint64_t kMaxPartMib = 5120;
constexpr uint64_t kMaxTimeoutS = 3600;

using Options = std::map<std::string, std::string>;

// Does not repeat the text: somebody may have put a password there.
[[noreturn]] void invalid(const std::string& why) {
    throw StoreError(ErrorKind::invalid,
                     "baseline store: " + why +
                         "; a store is /path, s3://bucket/prefix?endpoint=http://host:port or "
                         "rados://pool/prefix?conf=/etc/ceph/ceph.conf");
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::string unescape(std::string_view text) {
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            result += text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0)) invalid("a '%' without the two digits behind it");
        result += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return result;
}

Options split_options(std::string_view query) {
    Options options;
    while (!query.empty()) {
        const std::string_view one = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), one.size() + 1));
        const size_t equals = one.find('=');
        if (equals == one.npos || equals == 0) invalid("an option is not of the form name=value");
        if (!options.emplace(one.substr(0, equals), unescape(one.substr(equals + 1))).second)
            invalid("option '" + std::string(one.substr(0, equals)) + "' is given twice");
    }
    return options;
}

bool safe_component(std::string_view text) {
    return !text.empty() && text.front() != '.' && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-';
    });
}

void split_container(std::string_view path, StoreUrl& url) {
    if (path.find('@') != path.npos)
        invalid(
            "credentials do not belong into the URL: name a file with credentials=, or use the environment");
    const size_t slash = std::min(path.find('/'), path.size());
    url.container = path.substr(0, slash);
    if (!safe_component(url.container))
        invalid(
            "the bucket or pool is missing, or has other characters than letters, digits, '.', '_' and '-'");
    std::string_view rest = path.substr(slash);
    while (!rest.empty()) {
        rest.remove_prefix(1);  // the slash
        const std::string_view part = rest.substr(0, rest.find('/'));
        rest.remove_prefix(part.size());
        if (part.empty() && rest.empty()) break;
        if (!safe_component(part)) invalid("the prefix has an empty part, or one with other characters");
        url.prefix += std::string(part) + "/";
    }
}

uint64_t number(const std::string& name, const std::string& text, uint64_t low, uint64_t high) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high)
        invalid(name + " is a number from " + std::to_string(low) + " to " + std::to_string(high));
    return value;
}

std::string endpoint(std::string text) {
    if (text.empty()) invalid("s3 needs endpoint=http://host:port or https://...");
    while (text.ends_with('/'))
        text.pop_back();
    const size_t host = text.starts_with("https://") ? 8 : text.starts_with("http://") ? 7 : 0;
    if (host == 0 || host == text.size() || text.find_first_of("/@?# \t\r\n", host) != text.npos)
        invalid("endpoint is http://host:port or https://host:port and nothing more");
    return text;
}

// What a caller does not take is an option that nobody knows.
class Taker {
  public:
    explicit Taker(Options options) : options_(std::move(options)) {}
    std::string take(const std::string& name, const std::string& otherwise) {
        const auto found = options_.extract(name);
        return found.empty() ? otherwise : found.mapped();
    }
    void end() const {
        if (!options_.empty()) invalid("unknown option '" + options_.begin()->first + "'");
    }

  private:
    Options options_;
};

void parse_s3(Taker& options, StoreUrl& url) {
    url.engine = StoreUrl::Engine::s3;
    url.endpoint = endpoint(options.take("endpoint", ""));
    url.region = options.take("region", url.region);
    if (!safe_component(url.region))
        invalid("region has other characters than letters, digits, '.', '_' and '-'");
    url.credentials_file = options.take("credentials", "");
    url.ca_file = options.take("ca", "");
    url.part_bytes = number("part_mib", options.take("part_mib", "16"), kMinPartMib, kMaxPartMib) << 20;
}

void parse_rados(Taker& options, StoreUrl& url) {
    url.engine = StoreUrl::Engine::rados;
    url.conf_file = options.take("conf", url.conf_file.string());
    url.user = options.take("user", url.user);
    if (!url.user.starts_with("client.")) invalid("user is a Ceph name such as client.lagan");
}

}  // namespace

StoreUrl parse_store_url(const std::string& text) {
    StoreUrl url;
    const std::string_view all = text;
    if (all.starts_with('/') || all.starts_with(kFile)) {
        url.text = text;
        url.directory = all.starts_with('/') ? text : unescape(all.substr(kFile.size()));
        if (!url.directory.is_absolute()) invalid("file:// is followed by an absolute path");
        if (text.find('\0') != text.npos) invalid("a path without NUL");
        return url;
    }
    const bool s3 = all.starts_with(kS3);
    if (!s3 && !all.starts_with(kRados)) invalid("unknown kind of store");
    const size_t question = std::min(all.find('?'), all.size());
    const size_t begin = s3 ? kS3.size() : kRados.size();
    split_container(all.substr(begin, question - begin), url);
    url.text = text.substr(0, question);
    Taker options(split_options(all.substr(std::min(question + 1, all.size()))));
    url.timeout = std::chrono::seconds(number("timeout", options.take("timeout", "20"), 1, kMaxTimeoutS));
    s3 ? parse_s3(options, url) : parse_rados(options, url);
    options.end();
    return url;
}

}  // namespace lagan::baseline
