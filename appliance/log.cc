// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <cstdlib>

namespace lagan::appliance {

namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::error:
            return spdlog::level::err;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::debug:
            return spdlog::level::debug;
    }
    return spdlog::level::info;
}

spdlog::level::level_enum to_spdlog(net::LogLevel level) {
    switch (level) {
        case net::LogLevel::debug:
            return spdlog::level::debug;
        case net::LogLevel::info:
            return spdlog::level::info;
        case net::LogLevel::warning:
            return spdlog::level::warn;
        case net::LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

}  // namespace

void start_log(LogLevel level) {
    auto logger = spdlog::stderr_color_mt("lagand");
    logger->set_level(to_spdlog(level));
    logger->set_pattern(std::getenv("JOURNAL_STREAM") != nullptr ? "%l: %v" : "%H:%M:%S.%e %^%l%$: %v");
    spdlog::set_default_logger(std::move(logger));
}

net::LogSink log_sink() {
    return [](net::LogLevel level, const std::string& line) { spdlog::log(to_spdlog(level), line); };
}

}  // namespace lagan::appliance
