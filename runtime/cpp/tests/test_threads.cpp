#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "fixtures.hpp"

using espnet::Network;

namespace {

/// Run all at once, and wait for them.
void together(const std::vector<std::function<void()>>& works) {
    std::vector<std::thread> threads;
    threads.reserve(works.size());
    for (const auto& work : works) {
        threads.emplace_back(work);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

Network opened(const std::string& name) {
    espnet::Options options;
    options.threads = 1;
    return Network::open(fixture(name), options);
}

constexpr int rounds = 50;

/// How many of the photos of one colour after the other were segmented wrongly.
int mistakes(Network& net) {
    int wrong = 0;
    const std::array photos{PlainPhoto(red), PlainPhoto(green), PlainPhoto(blue)};
    for (int i = 0; i < rounds; ++i) {
        const auto expected = static_cast<std::uint8_t>(i % 3);
        const espnet::Segmentation answer = net.segment(photos[expected].view());
        wrong += answer.labels == std::vector<std::uint8_t>(96, expected) ? 0 : 1;
    }
    return wrong;
}

/// The last logits after reading the same words, of another beginning for each `text`.
std::vector<float> logits_of(Network& net, int text) {
    espnet::Span<const float> logits;
    for (int i = 0; i < rounds; ++i) {
        logits = net.step((i * (text + 1)) % 5);
    }
    return {logits.begin(), logits.end()};
}

}  // namespace

TEST_CASE("clones and other networks work at the same time") {
    Network seg = opened("seg");
    Network clone = seg.clone();
    Network free = opened("seg_free");
    Network logits = opened("seg_logits");
    std::atomic<int> wrong{0};
    together({[&] { wrong += mistakes(seg); }, [&] { wrong += mistakes(clone); }, [&] { wrong += mistakes(free); },
              [&] { wrong += mistakes(logits); }});
    CHECK(wrong == 0);
}

TEST_CASE("clones of a language model read texts of their own") {
    std::vector<std::vector<float>> expected;
    for (int text = 0; text < 4; ++text) {
        Network alone = opened("lm");
        expected.push_back(logits_of(alone, text));
    }
    CHECK(expected[0] != expected[1]);
    Network first = opened("lm");
    std::vector<Network> clones;
    for (int i = 0; i < 4; ++i) {
        clones.push_back(first.clone());
    }
    std::vector<std::vector<float>> found(4);
    std::vector<std::function<void()>> works;
    for (std::size_t i = 0; i < 4; ++i) {
        works.emplace_back([&, i] { found[i] = logits_of(clones[i], static_cast<int>(i)); });
    }
    together(works);
    CHECK(found == expected);
}

TEST_CASE("networks are opened, cloned and closed at the same time") {
    std::atomic<int> wrong{0};
    const auto life = [&] {
        for (int i = 0; i < 3; ++i) {
            Network net = opened("seg");
            Network clone = net.clone();
            net = opened("seg_free");
            wrong += mistakes(clone) + mistakes(net);
        }
    };
    together({life, life, life});
    CHECK(wrong == 0);
}
