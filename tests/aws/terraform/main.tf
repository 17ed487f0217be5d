# Every resource that the AWS provider has for App Runner, as users write them.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "access_key" { type = string }
variable "secret_key" {
  type      = string
  sensitive = true
}
variable "image" { type = string }
variable "memory" { type = string }
variable "greeting" { type = string }
variable "max_size" { type = number }

provider "aws" {
  region                      = "us-east-1"
  access_key                  = var.access_key
  secret_key                  = var.secret_key
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  endpoints {
    apprunner = var.endpoint
  }
}

data "aws_apprunner_hosted_zone_id" "here" {}

resource "aws_apprunner_auto_scaling_configuration_version" "scale" {
  auto_scaling_configuration_name = "tf-scale"
  max_concurrency                 = 50
  max_size                        = var.max_size
  min_size                        = 1
  tags                            = { greeting = var.greeting }
  # A revision in use cannot be deleted: the service must move to the new one first.
  lifecycle { create_before_destroy = true }
}

# Its destruction leaves the default as it is.
resource "aws_apprunner_default_auto_scaling_configuration_version" "default" {
  auto_scaling_configuration_arn = aws_apprunner_auto_scaling_configuration_version.scale.arn
  # The provider calls it by the account, which it was told not to ask for, and cannot change what has no name.
  lifecycle { replace_triggered_by = [aws_apprunner_auto_scaling_configuration_version.scale] }
}

resource "aws_apprunner_observability_configuration" "watch" {
  observability_configuration_name = "tf-watch"
  trace_configuration { vendor = "AWSXRAY" }
  tags = { greeting = var.greeting }
}

resource "aws_apprunner_connection" "hub" {
  connection_name = "tf-hub"
  provider_type   = "GITHUB"
  tags            = { greeting = var.greeting }
}

resource "aws_apprunner_vpc_connector" "egress" {
  vpc_connector_name = "tf-egress"
  subnets            = ["subnet-0a1b2c3d4e5f60718", "subnet-1a1b2c3d4e5f60718"]
  security_groups    = ["sg-0a1b2c3d4e5f60718"]
  tags               = { greeting = var.greeting }
}

resource "aws_apprunner_service" "web" {
  service_name = "tf-web"
  source_configuration {
    image_repository {
      image_identifier      = var.image
      image_repository_type = "ECR"
      image_configuration {
        port                          = "8080"
        runtime_environment_variables = { GREETING = var.greeting }
      }
    }
  }
  auto_scaling_configuration_arn = aws_apprunner_auto_scaling_configuration_version.scale.arn
  instance_configuration {
    cpu    = "0.25 vCPU"
    memory = var.memory
  }
  health_check_configuration {
    protocol = "HTTP"
    path     = "/"
    interval = 3
  }
  tags = { greeting = var.greeting }
}

resource "aws_apprunner_deployment" "again" {
  service_arn = aws_apprunner_service.web.arn
}

resource "aws_apprunner_custom_domain_association" "domain" {
  domain_name          = "tf.example.com"
  service_arn          = aws_apprunner_service.web.arn
  enable_www_subdomain = false
  # A service in work takes no domain.
  depends_on = [aws_apprunner_deployment.again]
}

resource "aws_apprunner_vpc_ingress_connection" "inward" {
  name        = "tf-inward"
  service_arn = aws_apprunner_service.web.arn
  ingress_vpc_configuration {
    vpc_id          = "vpc-0a1b2c3d4e5f60718"
    vpc_endpoint_id = "vpce-0a1b2c3d4e5f60718"
  }
  tags = { greeting = var.greeting }
}

output "ids" {
  value = {
    "aws_apprunner_auto_scaling_configuration_version.scale"           = aws_apprunner_auto_scaling_configuration_version.scale.arn
    "aws_apprunner_default_auto_scaling_configuration_version.default" = "123456789012"
    "aws_apprunner_observability_configuration.watch"                  = aws_apprunner_observability_configuration.watch.arn
    "aws_apprunner_connection.hub"                                     = aws_apprunner_connection.hub.connection_name
    "aws_apprunner_vpc_connector.egress"                               = aws_apprunner_vpc_connector.egress.arn
    "aws_apprunner_service.web"                                        = aws_apprunner_service.web.arn
    "aws_apprunner_custom_domain_association.domain"                   = aws_apprunner_custom_domain_association.domain.id
    "aws_apprunner_vpc_ingress_connection.inward"                      = aws_apprunner_vpc_ingress_connection.inward.arn
  }
}

output "url" { value = aws_apprunner_service.web.service_url }
