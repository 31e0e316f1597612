"""The scripts that change entries on a Redis server. Each is one step for the server, so a proxy may die at any point.

Every script on entries begins with `TABLES`, and is given the names of the tables as its first keys and the prefix that
they have in common as its first argument.
"""

PREFIX = "computer-use-cache:1:"
"""Begins every key of ours."""

TABLES = """
local order, expiry, sizes, totals, templates = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local by_template = table.remove(ARGV, 1) .. 'template:'
local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function forget(key)
    redis.call('HINCRBY', totals, 'bytes', -(redis.call('HGET', sizes, key) or 0))
    redis.call('HDEL', sizes, key)
    redis.call('ZREM', order, key)
    redis.call('ZREM', expiry, key)
    local template = redis.call('HGET', templates, key)
    if template then
        redis.call('HDEL', templates, key)
        redis.call('ZREM', by_template .. template, key)
    end
end
"""
PUT = """
local entry, request = KEYS[6], KEYS[7]
local key, data, milliseconds, template, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local replaced = redis.call('EXISTS', entry)
forget(key)
redis.call('SET', entry, data)
if record ~= '' then redis.call('SET', request, record) end
if milliseconds ~= '' then
    redis.call('PEXPIRE', entry, milliseconds)
    if record ~= '' then redis.call('PEXPIRE', request, milliseconds) end
    redis.call('ZADD', expiry, now() + milliseconds, key)
end
local time = redis.call('TIME')
local last = tonumber(redis.call('HGET', totals, 'puts') or 0)
local number = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
redis.call('HSET', totals, 'puts', number)
redis.call('ZADD', order, number, key)
if template ~= '' then
    redis.call('HSET', templates, key, template)
    redis.call('ZADD', by_template .. template, number, key)
end
redis.call('HSET', sizes, key, #data)
redis.call('HINCRBY', totals, 'bytes', #data)
return replaced
"""
DELETE = """
local deleted = 0
for number, key in ipairs(ARGV) do
    deleted = deleted + redis.call('DEL', KEYS[5 + number])
    redis.call('DEL', KEYS[5 + #ARGV + number])
    forget(key)
end
return deleted
"""
ADD_HOLDERS = """
for number = 3, #ARGV do redis.call('LPUSH', KEYS[1], ARGV[number]) end
redis.call('LTRIM', KEYS[1], 0, ARGV[1] - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Adds keys to those of the requests that share a part."""
FORGET_EXPIRED = """
local keys = redis.call('ZRANGEBYSCORE', expiry, '-inf', now(), 'LIMIT', 0, ARGV[1])
for _, key in ipairs(keys) do forget(key) end
return #keys
"""
COUNT = """
local number_of_counts = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
    local name, value = ARGV[i], ARGV[i + 1]
    if i <= 2 * number_of_counts then
        redis.call('HINCRBYFLOAT', KEYS[1], name, value)
    elseif tonumber(value) > tonumber(redis.call('HGET', KEYS[1], name) or '-inf') then
        redis.call('HSET', KEYS[1], name, value)
    end
end
"""
