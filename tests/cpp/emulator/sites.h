// Where kernels synchronise: every such call is known by its file and line, can be listed, and can be left out to see
// whether anything notices (a mutant).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <source_location>
#include <string>
#include <vector>

namespace hnscore::gpu::emulator {

using Site = std::source_location;

inline std::string text(const char* name, const Site& site) {
    const std::string path = site.file_name();
    return path.substr(path.find_last_of('/') + 1) + ":" + std::to_string(site.line()) + " " + name;
}

class Sites {
  public:
    // True where the call is to do nothing. Called very often: a site is looked up by its text only the first time.
    bool skip(const char* name, const Site& site) {
        Known& known = recent_[(site.line() * 31 + reinterpret_cast<uintptr_t>(site.file_name())) % kRecent];
        if (known.name != name || known.line != site.line() || known.file != site.file_name()) {
            const std::string key = text(name, site);
            known = {name, site.file_name(), site.line(), key == disabled_};
            ran_[key] = true;
        }
        return known.disabled;
    }

    std::vector<std::string> list() const {
        std::vector<std::string> names;
        for (const auto& [name, unused] : ran_) names.push_back(name);
        return names;
    }

    void disable(const std::string& name) {
        disabled_ = name;
        for (Known& known : recent_) known = {};
    }

    void forget() {
        ran_.clear();
        disable(disabled_);
    }

  private:
    struct Known {
        const char *name, *file;
        uint32_t line;
        bool disabled;
    };
    static constexpr size_t kRecent = 1024;
    Known recent_[kRecent] = {};
    std::map<std::string, bool> ran_;
    std::string disabled_;
};

inline Sites all_sites;

}  // namespace hnscore::gpu::emulator
