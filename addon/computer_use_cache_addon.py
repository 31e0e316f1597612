"""The file for mitmproxy's -s: `mitmdump -s computer_use_cache_addon.py --mode reverse:https://api.openai.com`."""

from computer_use_cache.proxy.addon import ComputerUseCache

addons = [ComputerUseCache()]
