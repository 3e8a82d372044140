-- Strings, tables, closures, coroutines, metatables, integer and float arithmetic.
local words = {}
for word in ("the quick brown fox jumps over the lazy dog"):gmatch("%a+") do
    words[#words + 1] = word:upper():reverse()
end
table.sort(words, function(a, b) return a < b end)
print(table.concat(words, ","), #words)
print(string.format("%5.2f|%-8s|%08x|%q|%a", math.pi, "left", 48879, 'a "quoted"\nline', 1.5))
print(7 // 2, -7 // 2, 7 % -3, 7 / 2, 2 ^ 0.5, 1 << 62, 0x7fffffffffffffff + 1, 3 | 5, ~0)
local fib = setmetatable({}, {__index = function(t, n) local v = n < 2 and n or t[n - 1] + t[n - 2]; t[n] = v; return v end})
print(fib[80])
local function generate(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i, i * i) end end) end
for i, square in generate(5) do io.write(i, "=", square, " ") end
print()
print(pcall(error, {code = 1}), pcall(function() local x = nil; return x.y end))
print(select("#", string.find("key = value", "(%w+)%s*=%s*(%w+)")), string.rep("ab", 3, "-"))
print(host.sum(1, 2.5, 3), pcall(host.sum, "x"))
print(string.pack("<i4d", 7, 0.5):byte(1, -1))
print(utf8.char(228, 8364, 128512), utf8.len("äöü"), os.time{year = 2020, month = 2, day = 29, hour = 12} > 0)
print(math.tointeger(3.0), math.type(1), math.type(1.0), math.max(1, 2.5), math.fmod(-5, 3), math.ult(1, -1))
print(xpcall(function() error("deep", 2) end, function(m) return "handled: " .. m end))
print(load("return 1 +")) print(load("return ...")(42))
local t = table.move({1, 2, 3}, 1, 3, 2) print(table.unpack(t))
do local closed <close> = setmetatable({}, {__close = function() print("closed") end}) end
goto finish
print("never")
::finish::
for i = 1, 2000 do local s = {} for j = 1, 20 do s[j] = i .. ":" .. j end end
collectgarbage()
print(tostring(1e15), tostring(2 ^ 53), 1e100, -0.0, 1 / 0, math.floor(-3.5), 10 // 0.3)
error("at the end")
