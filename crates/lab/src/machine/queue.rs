//! The lab's own view of a storage account's queues: messages, by their text.

use std::{fmt, sync::Arc, time::Duration};

use azure_storage_queue::{
    QueueClient,
    models::{
        QueueClientGetPropertiesResultHeaders, QueueClientPeekMessagesOptions, QueueClientReceiveMessagesOptions,
        QueueMessage, ReceivedMessage,
    },
};

use super::storage::StorageError;

/// One queue of an account.
#[derive(Clone)]
pub struct Queue {
    name: String,
    client: Arc<QueueClient>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.name).finish()
    }
}

/// A message that was received and is invisible to others until its lease ends.
#[derive(Clone, Debug)]
pub struct Received {
    pub id: String,
    /// Proof of the last receive or renewal.
    pub pop_receipt: String,
    /// Its text as it stands in the queue.
    pub text: String,
    /// How often it was received, this time included.
    pub dequeue_count: i64,
    /// When it was sent.
    pub inserted: Option<time::OffsetDateTime>,
    /// When the service drops it.
    pub expires: Option<time::OffsetDateTime>,
}

impl Queue {
    pub(super) fn new(name: &str, client: QueueClient) -> Self {
        Self { name: name.to_owned(), client: client.into() }
    }

    fn fail(&self, verb: &str, source: azure_core::Error) -> StorageError {
        StorageError::new(format!("{verb} queue {}", self.name), source)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a message at the end, where it lives as long as the service lets it unasked: seven days, as the host's do.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn send(&self, text: &str) -> Result<(), StorageError> {
        self.send_expiring(text).await.map(drop)
    }

    /// The same; gives the time when it expires.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn send_expiring(&self, text: &str) -> Result<Option<time::OffsetDateTime>, StorageError> {
        let fail = |source| self.fail("send to", source);
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        let sent = self.client.send_message(message.try_into().map_err(fail)?, None).await.map_err(fail)?;
        let sent = sent.into_model().map_err(fail)?.items.unwrap_or_default();
        Ok(sent.first().and_then(|it| it.expiration_time))
    }

    /// Takes up to `count` (at most 32) messages and hides them for `lease`.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn receive(&self, count: usize, lease: Duration) -> Result<Vec<Received>, StorageError> {
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(count.clamp(1, 32) as i32),
            visibility_timeout: Some(lease.as_secs().max(1) as i32),
            ..Default::default()
        };
        let response = self.client.receive_messages(Some(options)).await.map_err(|it| self.fail("receive from", it))?;
        let messages = response.into_model().map_err(|source| self.fail("receive from", source))?;
        Ok(messages.items.unwrap_or_default().into_iter().filter_map(received).collect())
    }

    /// Hides a received message for `lease` from now, or shows it at once when that is zero.
    ///
    /// # Errors
    /// When the lease was lost, or the service refuses or is away.
    pub async fn renew(&self, message: &mut Received, lease: Duration) -> Result<(), StorageError> {
        const POP_RECEIPT: azure_core::http::headers::HeaderName =
            azure_core::http::headers::HeaderName::from_static("x-ms-popreceipt");
        let seconds = lease.as_secs() as i32;
        let response = self.client.update_message(&message.id, &message.pop_receipt, seconds, None).await;
        let response = response.map_err(|source| self.fail("renew a message of", source))?;
        if let Some(receipt) = response.headers().get_optional_string(&POP_RECEIPT) {
            message.pop_receipt = receipt;
        }
        Ok(())
    }

    /// Removes a received message.
    ///
    /// # Errors
    /// When the lease was lost, or the service refuses or is away.
    pub async fn delete(&self, message: &Received) -> Result<(), StorageError> {
        let result = self.client.delete_message(&message.id, &message.pop_receipt, None).await;
        result.map(drop).map_err(|source| self.fail("delete a message of", source))
    }

    /// Whether no message is left, hidden ones included.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.messages().await? == Some(0))
    }

    /// How many messages there are, hidden ones included; the service calls that approximate.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn messages(&self) -> Result<Option<i64>, StorageError> {
        let properties = self.client.get_properties(None).await.map_err(|it| self.fail("look at", it))?;
        properties.approximate_messages_count().map_err(|it| self.fail("look at", it))
    }

    /// Texts of up to 32 visible messages, left where they are.
    ///
    /// # Errors
    /// When the service refuses or is away.
    pub async fn peek(&self) -> Result<Vec<String>, StorageError> {
        let options = QueueClientPeekMessagesOptions { number_of_messages: Some(32), ..Default::default() };
        let response = self.client.peek_messages(Some(options)).await.map_err(|it| self.fail("peek at", it))?;
        let messages = response.into_model().map_err(|source| self.fail("peek at", source))?;
        Ok(messages.items.unwrap_or_default().into_iter().filter_map(|it| it.message_text).collect())
    }
}

fn received(message: ReceivedMessage) -> Option<Received> {
    Some(Received {
        id: message.message_id?,
        pop_receipt: message.pop_receipt?,
        text: message.message_text.unwrap_or_default(),
        dequeue_count: message.dequeue_count.unwrap_or(1),
        inserted: message.insertion_time,
        expires: message.expiration_time,
    })
}
