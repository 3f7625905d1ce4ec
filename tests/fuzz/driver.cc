// SPDX-License-Identifier: BSD-3-Clause
// Runs a fuzz target without libFuzzer: on seeded mutations of its seeds, or on the files given.
//
//   TARGET --iterations N    mutations; LAGAN_TEST_SEED repeats a run, LAGAN_TEST_LONG=1 makes it 50 times as
//   long TARGET FILE...           these inputs, as a finding leaves one behind TARGET --write-seeds DIR a
//   corpus for libFuzzer
#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "tests/fuzz/target.h"

using lagan::test::Input;

namespace {

Input current;  // what the target is looking at

// The input that did it, for a run of its own. Called when all is lost: as little as possible.
void write_finding() {
    const char* directory = std::getenv("LAGAN_TEST_DIR");
    const std::string path = std::string(directory == nullptr ? "/tmp" : directory) + "/fuzz-finding";
    if (std::FILE* file = std::fopen(path.c_str(), "wb")) {
        std::fwrite(current.data(), 1, current.size(), file);
        std::fclose(file);
        std::fprintf(stderr, "fuzz: the input is in %s\n", path.c_str());
    }
}

void on_signal(int number) {
    write_finding();
    std::signal(number, SIG_DFL);
    std::raise(number);
}

class Mutator {
  public:
    Mutator(std::vector<Input> seeds, uint64_t seed) : seeds_(std::move(seeds)), random_(seed) {}

    Input next() {
        Input input = pick();
        for (uint64_t more = random_() % 3; more != 0; more--) {  // several packets, one after the other
            const Input other = pick();
            input.insert(input.end(), other.begin(), other.end());
        }
        for (uint64_t steps = random_() % 8; steps != 0 && !input.empty(); steps--)
            mutate(input);
        return input;
    }

  private:
    const Input& pick() { return seeds_[random_() % seeds_.size()]; }

    void mutate(Input& input) {
        const size_t at = random_() % input.size();
        switch (random_() % 9) {
            case 0:
                input[at] ^= static_cast<uint8_t>(1U << random_() % 8);
                break;
            case 1:
                input[at] = static_cast<uint8_t>(random_());
                break;
            case 2:
                write_number(input, at);
                break;
            case 3:
                input.resize(at);
                break;
            case 4: {
                const size_t bytes = std::min<size_t>(random_() % 64, input.size() - at);
                input.erase(input.begin() + long(at), input.begin() + long(at + bytes));
                break;
            }
            case 5:
                input.insert(input.begin() + long(at), random_() % 64, static_cast<uint8_t>(random_()));
                break;
            case 6: {
                const Input part(input.begin() + long(at),
                                 input.begin() + long(at + (input.size() - at) / 2));
                input.insert(input.begin() + long(at), part.begin(), part.end());
                break;
            }
            case 7: {
                const Input& other = pick();
                const size_t from = other.empty() ? 0 : random_() % other.size();
                std::copy_n(other.begin() + long(from), std::min(other.size() - from, input.size() - at),
                            input.begin() + long(at));
                break;
            }
            default:
                input[at]++;
        }
    }

    // Big-endian, as in packets.
    void write_number(Input& input, size_t at) {
        constexpr uint64_t kNumbers[] = {0,      1,      0x7f,       0x80,         0xff,       0x7fff,
                                         0x8000, 0xffff, 0x7fffffff, 0x80000000,   0xffffffff, 0xfff,
                                         0x1000, 0x1001, ~0ULL,      ~0ULL - 4095, 1ULL << 63};
        const uint64_t number = kNumbers[random_() % std::size(kNumbers)];
        const size_t width = 1ULL << random_() % 4;
        for (size_t i = 0; i < width && at + i < input.size(); i++)
            input[at + i] = static_cast<uint8_t>(number >> 8 * (width - 1 - i));
    }

    std::vector<Input> seeds_;
    std::mt19937_64 random_;
};

void run(const Input& input) {
    current = input;
    // Exactly as large as the input: reading behind it is seen.
    const auto bytes = std::make_unique<uint8_t[]>(input.size());
    std::copy(input.begin(), input.end(), bytes.get());
    LLVMFuzzerTestOneInput(bytes.get(), input.size());
}

int run_mutations(uint64_t iterations) {
    const char* wanted = std::getenv("LAGAN_TEST_SEED");
    const uint64_t seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
    const char* length = std::getenv("LAGAN_TEST_LONG");
    if (length != nullptr && *length == '1') iterations *= 50;
    std::cout << "LAGAN_TEST_SEED=" << seed << ", " << iterations << " inputs" << std::endl;
    const std::vector<Input> seeds = lagan::test::fuzz_seeds();
    for (const Input& input : seeds)
        run(input);
    Mutator mutator(seeds, seed);
    for (uint64_t i = 0; i < iterations; i++)
        run(mutator.next());
    std::cout << lagan::test::fuzz_summary() << std::endl;
    return 0;
}

int write_seeds(const std::filesystem::path& directory) {
    std::filesystem::create_directories(directory);
    int number = 0;
    for (const Input& input : lagan::test::fuzz_seeds())
        std::ofstream(directory / std::to_string(number++), std::ios::binary)
            .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    return 0;
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_set_death_callback(void (*callback)());
#endif
extern "C" const char* __ubsan_default_options() {
    return "halt_on_error=1:print_stacktrace=1";
}

int main(int argc, char** argv) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback(write_finding);
#else
    std::signal(SIGSEGV, on_signal);
#endif
    std::signal(SIGABRT, on_signal);
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.size() == 2 && arguments[0] == "--iterations")
        return run_mutations(std::stoull(arguments[1]));
    if (arguments.size() == 2 && arguments[0] == "--write-seeds") return write_seeds(arguments[1]);
    for (const std::string& path : arguments) {
        std::ifstream file(path, std::ios::binary);
        run(Input(std::istreambuf_iterator<char>(file), {}));
    }
    if (arguments.empty()) {
        std::cerr << "usage: " << argv[0] << " --iterations N | --write-seeds DIRECTORY | FILE...\n";
        return 2;
    }
    return 0;
}
