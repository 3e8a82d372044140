-- Long words count more.
function score(word, count)
  return count * math.max(1, #word - 3)
end
