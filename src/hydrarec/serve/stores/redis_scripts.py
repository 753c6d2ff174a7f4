"""What a Redis or Valkey server does at once, in its own language: nothing comes in between, and all of it or nothing.

Keys, each after ``hydrarec:``. ``u:NAME`` a user's number, events, last; ``e:NUMBER`` events; ``i:NUMBER`` their ids;
``x:NUMBER`` their items; ``s:NUMBER`` states by version. ``users`` names by number; ``versions``; ``states:VERSION``
numbers by age. ``item:ID``; ``items`` ids by their last change. Counters: ``numbers``, ``clock``, ``items_version``.
"""

_SHARED = """
local function key(kind, name) return 'hydrarec:' .. kind .. (name or '') end
local function call(...) return redis.call(...) end
local function look_whether_used(version)
  if call('EXISTS', key('states:', version)) == 0 then call('SREM', key('versions'), version) end
end
local function drop_states(number)
  for _, version in ipairs(call('HKEYS', key('s:', number))) do
    call('ZREM', key('states:', version), number)
    look_whether_used(version)
  end
  call('DEL', key('s:', number))
end
local function put_state(number, version, data)
  call('HSET', key('s:', number), version, data)
  call('SADD', key('versions'), version)
  call('ZADD', key('states:', version), call('INCR', key('clock')), number)
end
local function drop_oldest(version, most)
  local numbers = call('ZRANGE', key('states:', version), 0, most - 1)
  for _, number in ipairs(numbers) do call('HDEL', key('s:', number), version) end
  if #numbers > 0 then call('ZREMRANGEBYRANK', key('states:', version), 0, #numbers - 1) end
  look_whether_used(version)
  return #numbers
end
"""

# version or '', names -> for each {} or {number, events, last, version or '', data or ''}
ACCOUNTS = (
    _SHARED
    + """
local found = {}
for place = 2, #ARGV do
  local user, version = call('HMGET', key('u:', ARGV[place]), 'number', 'events', 'last'), ARGV[1]
  if not user[1] then
    found[place - 1] = {}
  else
    if version == '' then
      local latest = 0
      for _, each in ipairs(call('HKEYS', key('s:', user[1]))) do
        local written = tonumber(call('ZSCORE', key('states:', each), user[1]))
        if written > latest then latest, version = written, each end
      end
    end
    local data = version ~= '' and call('HGET', key('s:', user[1]), version)
    found[place - 1] = {user[1], user[2], user[3], data and version or '', data or ''}
  end
end
return found
"""
)

# for each change: name, number or '', events before, last, version or '', data, how many events, then each and its id,
# with an x before it, or ''. 0: a user has changed, nothing was done.
APPEND = (
    _SHARED
    + """
local place = 1
while place <= #ARGV do
  local now = call('HMGET', key('u:', ARGV[place]), 'number', 'events')
  if (now[1] or '') ~= ARGV[place + 1] or (now[2] or '0') ~= ARGV[place + 2] then return 0 end
  place = place + 7 + 2 * tonumber(ARGV[place + 6])
end
place = 1
while place <= #ARGV do
  local name, number, count = ARGV[place], ARGV[place + 1], tonumber(ARGV[place + 6])
  if number == '' then
    number = tostring(call('INCR', key('numbers')))
    call('ZADD', key('users'), number, name)
  end
  call('HSET', key('u:', name), 'number', number, 'events', ARGV[place + 2] + count, 'last', ARGV[place + 3])
  for each = place + 7, place + 5 + 2 * count, 2 do
    call('RPUSH', key('e:', number), ARGV[each])
    call('SADD', key('x:', number), cjson.decode(ARGV[each])[1])
    if ARGV[each + 1] ~= '' then call('SADD', key('i:', number), string.sub(ARGV[each + 1], 2)) end
  end
  drop_states(number)
  if ARGV[place + 4] ~= '' then put_state(number, ARGV[place + 4], ARGV[place + 5]) end
  place = place + 7 + 2 * count
end
return 1
"""
)

# for each state: name, number, events, version, data
KEEP = (
    _SHARED
    + """
for place = 1, #ARGV, 5 do
  local now = call('HMGET', key('u:', ARGV[place]), 'number', 'events')
  if now[1] == ARGV[place + 1] and now[2] == ARGV[place + 2] then
    put_state(now[1], ARGV[place + 3], ARGV[place + 4])
  end
end
"""
)

# how many of a version stay, how many go at most -> how many went
EVICT = (
    _SHARED
    + """
local dropped, most = 0, tonumber(ARGV[2])
for _, version in ipairs(call('SMEMBERS', key('versions'))) do
  local beyond = math.min(call('ZCARD', key('states:', version)) - ARGV[1], most - dropped)
  if beyond > 0 then dropped = dropped + drop_oldest(version, beyond) end
end
return dropped
"""
)

# version, most -> how many went
DROP_OTHERS = (
    _SHARED
    + """
local dropped, most = 0, tonumber(ARGV[2])
for _, version in ipairs(call('SMEMBERS', key('versions'))) do
  if version ~= ARGV[1] and dropped < most then dropped = dropped + drop_oldest(version, most - dropped) end
end
return dropped
"""
)

# version, after, most -> number of the last user or '', names
OUTDATED = (
    _SHARED
    + """
local users = call('ZRANGEBYSCORE', key('users'), '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local found = {''}
for place = 1, #users, 2 do
  local states = key('s:', users[place + 1])
  if call('HLEN', states) > 0 and call('HEXISTS', states, ARGV[1]) == 0 then found[#found + 1] = users[place] end
  found[1] = users[place + 1]
end
return found
"""
)

# name -> whether there was such a user
ERASE = (
    _SHARED
    + """
local number = call('HGET', key('u:', ARGV[1]), 'number')
if not number then return 0 end
drop_states(number)
call('DEL', key('u:', ARGV[1]), key('e:', number), key('i:', number), key('x:', number))
call('ZREM', key('users'), ARGV[1])
return 1
"""
)

# known version or '', then for each item: id, fields or '', removed, vector or '', version -> whether it was stored
PUT_ITEMS = (
    _SHARED
    + """
if ARGV[1] ~= '' and (call('GET', key('items_version')) or '0') ~= ARGV[1] then return 0 end
local now = call('INCR', key('items_version'))
for place = 2, #ARGV, 5 do
  local item = key('item:', ARGV[place])
  call('HSETNX', item, 'number', call('HLEN', item) == 0 and call('ZCARD', key('items')) or 0)
  call('HSETNX', item, 'version', ARGV[place + 4])
  call('HSET', item, 'removed', ARGV[place + 2])
  if ARGV[place + 1] ~= '' then call('HSET', item, 'fields', ARGV[place + 1]) end
  if ARGV[place + 3] ~= '' then call('HSET', item, 'vector', ARGV[place + 3], 'version', ARGV[place + 4]) end
  call('ZADD', key('items'), now, ARGV[place])
end
return 1
"""
)
