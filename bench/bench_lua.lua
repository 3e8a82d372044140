-- Work to measure: recursion, arrays, floating point, strings and a sort, closures, objects. Returns a function for each, which
-- fails when a result is wrong.

local function fibonacci(n)
  if n < 2 then return n end
  return fibonacci(n - 1) + fibonacci(n - 2)
end

local function count_primes(n)
  local is_prime, count = {}, 0
  for i = 2, n do is_prime[i] = true end
  for i = 2, n do
    if is_prime[i] then
      count = count + 1
      for k = i * i, n, i do is_prime[k] = false end
    end
  end
  return count
end

local function orbit(steps)
  local x, y, vx, vy = 1.0, 0.0, 0.0, 1.0
  for _ = 1, steps do
    local pull = (x * x + y * y) ^ -1.5 * 0.001
    vx, vy = vx - x * pull, vy - y * pull
    x, y = x + vx * 0.001, y + vy * 0.001
  end
  return x * x + y * y
end

local function count_words(n)
  local counts, words = {}, {}
  for i = 1, n do
    local word = string.format("w%d", i % 997)
    counts[word] = (counts[word] or 0) + #word
  end
  for word in pairs(counts) do words[#words + 1] = word end
  table.sort(words)
  return #(table.concat(words, ","):gsub("1", "one"))
end

local function sum_closures(n)
  local sum = 0
  for i = 1, n do
    local function add(x) return x + i end
    sum = add(sum)
  end
  return sum
end

local Counter = {}
Counter.__index = Counter
function Counter.new(value) return setmetatable({value = value}, Counter) end
function Counter:plus(other) return Counter.new(self.value + other.value) end

local function sum_objects(n)
  local sum, one = Counter.new(0), Counter.new(1)
  for _ = 1, n do sum = sum:plus(one) end
  return sum.value
end

return {
  function() assert(fibonacci(25) == 75025) end,
  function() assert(count_primes(200000) == 17984) end,
  function() assert(math.abs(orbit(80000) - 1) < 0.01) end,
  function() assert(count_words(30000) == 5474) end,
  function() assert(sum_closures(60000) == 1800030000) end,
  function() assert(sum_objects(30000) == 30000) end,
}
