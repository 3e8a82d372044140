#include "shared.h"

#include <algorithm>

static traced middle_static("middle static");

// Catches some, changes some, lets the others pass.
std::string through(int kind)
try {
    traced t("through's");
    try {
        fail(kind);
    } catch (const error_of<int> &e) {
        return "int " + std::to_string(e.value);
    } catch (const char *text) {
        return text;
    } catch (error &e) {
        e.code += 100;
        throw;
    }
    return "nothing";
} catch (const std::out_of_range &e) {
    return std::string("range: ") + typeid(e).name();
}

shape *as_shape(named *n) { return dynamic_cast<shape *>(n); }
named *as_named(shape *s) { return dynamic_cast<named *>(s); }

static int bad_value;

int sum_sorted(std::vector<int> &v, int bad)
{
    traced t("sorted's");
    std::sort(v.begin(), v.end(), [bad](int a, int b) {
        if (a == bad)
            fail(0);
        return a < b;
    });
    return v.front();
}

static int compare(const void *a, const void *b)
{
    if (*static_cast<const int *>(a) == bad_value)
        throw error(*static_cast<const int *>(a));
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

int sum_qsorted(int *v, int n, int bad)
{
    traced t("qsorted's");
    bad_value = bad;
    std::qsort(v, static_cast<std::size_t>(n), sizeof *v, compare);
    return v[0];
}

void cleanup_then_fail(int n)
{
    traced t(n % 2 ? "odd" : "even");
    std::string text(static_cast<std::size_t>(n) * 20, 'x');
    if (n)
        cleanup_then_fail(n - 1);
    else
        fail(3);
}

int guarded() noexcept
{
    try {
        fail(8);
    } catch (traced *t) {
        return t == &base_object;
    }
    return 2;
}
const void *middle_address_of_next() { return address_of_next(); }
