// How quantities are written in mld.toml, and in messages about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ml::daemon {

inline constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};

// "4096", "64KiB", "1.5GiB", "8GB"; nothing for what is none of these, or too large.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
// "500ms", "30s", "5min", "2h", in milliseconds; nothing for what is none of these, or more than a century.
std::optional<std::uint64_t> parse_duration(std::string_view text);
// "0-3,8": ascending, each once.
std::optional<std::vector<int>> parse_cpus(std::string_view text);
// "50%", from 0 to 100.
std::optional<double> parse_percent(std::string_view text);

std::string format_bytes(std::uint64_t bytes);  // "1.5 GiB", "unlimited"
std::string format_cpus(const std::vector<int>& cpus);

}  // namespace ml::daemon
