// Two accounts: one for data, reached with identities alone, and one for the app's content, which takes a key.
@description('Required. Region.')
param location string

@description('Required. Account of blobs, queues and task hub.')
param dataAccountName string

@description('Required. Account of the content share.')
param contentAccountName string

// Where the functions look and write, and where what failed five times ends. The host's own containers and queues are made by it.
var containers = [
  'input'
  'results'
]
var queues = [
  'webjobs-blobtrigger-poison'
]

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: dataAccountName
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: data
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for containerName in containers: {
    parent: blobService
    name: containerName
  }
]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: data
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for queueName in queues: {
    parent: queueService
    name: queueName
  }
]

// A Premium plan mounts the app's content from a share, and can do so with a key only. In an account of its own that key opens the
// packages and the platform's files and nothing else.
resource content 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: contentAccountName
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowSharedKeyAccess: true
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource fileService 'Microsoft.Storage/storageAccounts/fileServices@2025-06-01' = {
  parent: content
  name: 'default'
}

resource share 'Microsoft.Storage/storageAccounts/fileServices/shares@2025-06-01' = {
  parent: fileService
  name: 'app'
}

output dataAccountName string = data.name
output blobEndpoint string = data.properties.primaryEndpoints.blob
output contentAccountName string = content.name
output contentShareName string = share.name
