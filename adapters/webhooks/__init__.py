"""Delivery of signed webhooks to followers: one POST, one outcome."""

from adapters.webhooks.sender import AiohttpWebhookSender

__all__ = ["AiohttpWebhookSender"]
