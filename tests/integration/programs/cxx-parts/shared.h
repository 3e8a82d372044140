// What base.cc, middle.cc and main.cc share: things that C++ wants to be one in a process, wherever their code went.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

struct traced {
    const char *name;
    explicit traced(const char *n) : name(n)
    {
        std::printf("+%s\n", name);
    }
    ~traced()
    {
        std::printf("-%s\n", name);
    }
    traced(const traced &) = delete;
};

// One in the process: inline variables, statics of templates and of inline functions.
inline int counter = 1;
inline traced inline_object("inline");
inline thread_local int per_thread = 100;
template <class T> struct registry {
    static int count;
    static std::vector<std::string> names;
};
template <class T> int registry<T>::count = 10;
template <class T> std::vector<std::string> registry<T>::names;
template <class T> T variable_template = T(7);
inline int &next()
{
    static int n = 1000;
    return n;
}
inline traced &local_static()
{
    static traced t("local");
    return t;
}
inline const void *address_of_next()
{
    return &next();
}

class shape
{
  public:
    virtual ~shape();
    virtual std::string name() const = 0;
    virtual shape *clone() const = 0;
    virtual int area() const
    {
        return 0;
    }
};
class named
{
  public:
    virtual ~named() = default;
    virtual const char *label() const
    {
        return "named";
    }
    int n = 5;
};
// A class without a key function: its vtable and typeinfo are in every file that needs them.
struct plain : named {
    const char *label() const override
    {
        return "plain";
    }
};
class square : public shape, public virtual named
{
  public:
    explicit square(int s) : side(s)
    {
    }
    std::string name() const override
    {
        return "square";
    }
    square *clone() const override
    {
        return new square(side);
    }
    int area() const override
    {
        return side * side;
    }
    const char *label() const override
    {
        return "square's";
    }
    int side;
};

struct error : std::runtime_error {
    error(int c) : std::runtime_error("error " + std::to_string(c)), code(c)
    {
    }
    int code;
    std::shared_ptr<int> counted = std::make_shared<int>(code);
};
struct error_with_key : error {
    error_with_key(int c) : error(c)
    {
    }
    ~error_with_key() override;
};
template <class T> struct error_of {
    T value;
};

// base.cc
extern thread_local traced thread_object;
extern thread_local std::string thread_text;
extern traced base_object;
void fail(int kind);
std::unique_ptr<shape> make_square(int side);
int apply(int (*f)(int), int n);
int apply(const std::function<int(int)> &f, int n);
std::string bump();
const std::type_info &type_of(int kind);
const void *base_address_of_next();
int (shape::*area_of())() const;
void in_thread(const std::function<void()> &f);
// middle.cc
std::string through(int kind);
shape *as_shape(named *n);
named *as_named(shape *s);
int sum_sorted(std::vector<int> &v, int bad);
int sum_qsorted(int *v, int n, int bad);
void cleanup_then_fail(int n);
int guarded() noexcept;
const void *middle_address_of_next();
