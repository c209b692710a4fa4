// Fibers: functions with stacks of their own that take turns on one thread of the operating system. A GPU thread is
// one.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace hnscore::gpu::emulator {

#ifdef __x86_64__

using Context = void*;  // the stack pointer; everything else is on the stack

// What a called function must preserve goes to the old stack and comes from the new one. swapcontext would do, but it
// makes a system call each time.
__attribute__((naked, noinline)) inline void switch_context(Context*, Context*) {
    asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n"
        "movq (%rsi), %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
        "ret");
}

inline void make_context(Context* context, char* stack, size_t bytes, void (*body)()) {
    auto* top = reinterpret_cast<void**>(stack + bytes) - 2;  // what `body` sees is aligned as after a call
    *top = reinterpret_cast<void*>(body);
    *context = top - 6;
}

#else

using Context = ucontext_t;

inline void switch_context(Context* from, Context* to) { swapcontext(from, to); }

inline void make_context(Context* context, char* stack, size_t bytes, void (*body)()) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = bytes;
    context->uc_link = nullptr;
    makecontext(context, body, 0);
}

#endif

class Fiber {
  public:
    static constexpr size_t kStack = 256 << 10;  // reserved; memory is taken when it is first used

    Fiber() {
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        void* memory = mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        mprotect(memory, page, PROT_NONE);  // what lies below a stack that overflows
        mapped_ = static_cast<char*>(memory);
        stack_ = mapped_ + page;
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber() { munmap(mapped_, static_cast<size_t>(stack_ - mapped_) + kStack); }

    // The next resume() calls `body`, which never returns. Whatever ran here before is forgotten.
    void start(void (*body)()) {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(stack_, kStack);
#endif
        make_context(&context_, stack_, kStack, body);
    }

    // Runs the fiber until it calls leave(). For whoever is no fiber.
    void resume() {
        running_ = this;
#if defined(__SANITIZE_ADDRESS__)
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(&fake, stack_, kStack);
        switch_context(&outside_, &context_);
        __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
        switch_context(&outside_, &context_);
#endif
    }

    static void leave() {
        Fiber* self = running_;
#if defined(__SANITIZE_ADDRESS__)
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(&fake, outside_stack_, outside_bytes_);
        switch_context(&self->context_, &outside_);
        __sanitizer_finish_switch_fiber(fake, &outside_stack_, &outside_bytes_);
#else
        switch_context(&self->context_, &outside_);
#endif
    }

    // The first thing that `body` calls.
    static void entered() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_bytes_);
#endif
    }

  private:
    char *mapped_, *stack_;
    Context context_;
    static inline Context outside_;
    static inline Fiber* running_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    static inline const void* outside_stack_ = nullptr;
    static inline size_t outside_bytes_ = 0;
#endif
};

}  // namespace hnscore::gpu::emulator
