-- Compute: sieve, matrices, n-queens, string building, md5-like mixing.
local function sieve(n)
    local composite, count = {}, 0
    for i = 2, n do
        if not composite[i] then count = count + 1 for j = i * i, n, i do composite[j] = true end end
    end
    return count
end
print(sieve(20000))
local function queens(n)
    local count, columns, up, down = 0, {}, {}, {}
    local function place(row)
        if row > n then count = count + 1 return end
        for c = 1, n do
            if not columns[c] and not up[row + c] and not down[row - c] then
                columns[c], up[row + c], down[row - c] = true, true, true
                place(row + 1)
                columns[c], up[row + c], down[row - c] = nil, nil, nil
            end
        end
    end
    place(1)
    return count
end
print(queens(7))
local h = 2166136261
for i = 1, 50000 do h = ((h ~ (i & 255)) * 16777619) & 0xffffffff end
print(("%08x"):format(h))
local parts = {}
for i = 1, 3000 do parts[#parts + 1] = ("%d:%s"):format(i, math.sin(i)) end
local s = table.concat(parts, ";")
print(#s, (s:gsub("%d+%.%d+", "n")):sub(1, 60))
return 1, 2, 3
